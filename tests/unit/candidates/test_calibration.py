"""What a predictor says is what a plain pass answers, however much of the network it leaves out."""

import gc
import weakref
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from ledger.algebra.strength import Strength
from ledger.answers import start_places
from ledger.answers.calibration import Batch, Calibration
from ledger.answers.predictions import CLOSE_CALL_SHARE, Predictions, Scores
from ledger.candidates.candidate import Candidate, Recipe
from ledger.candidates.predictor import CandidatePredictor
from ledger.errors import NonFiniteError
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins

DEPTHS = (1, 2, 3, 4)
MASKED = {1}
"""The forgotten class, in the mask of the masked original."""
CLASSES = 3


class Counting(nn.Identity):
    """Counts how often images really pass through."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x


class Small(nn.Module):
    """Two convolutions, a block that is added to its input, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.counting = Counting()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.squeeze = nn.Linear(4, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(self.counting(x)))
        x = x + self.block(x)
        answer: Tensor = self.head(torch.relu(self.squeeze(x.mean((2, 3)))))
        return answer


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network.of(Small(), build_plugins().layer_handlers())


def batch(seed: int, count: int = 6) -> Batch:
    images = torch.randn(count, 2, 5, 5, generator=torch.Generator().manual_seed(seed))
    return Batch(images, torch.arange(count) % CLASSES)


@pytest.fixture
def shown() -> Calibration:
    return Calibration(forgotten=(batch(1), batch(2, 3)), retained=(batch(3), batch(4, 5)))


def edited(network: Network, depth: int, by: float = 0.3) -> dict[str, Tensor]:
    """Return weights that differ from the registered ones in the last layers."""
    generator = torch.Generator().manual_seed(depth)
    state = {name: tensor.clone() for name, tensor in network.state().items()}
    for layer in network.layers[-depth:]:
        weight = state[f"{layer.name}.weight"]
        weight += by * torch.randn(weight.shape, generator=generator)
    return state


def candidate(state: dict[str, Tensor], depth: int) -> Candidate:
    return Candidate(Recipe("any", depth, Strength(1.0, 1.0)), state, ())


def plain(network: Network, state: Mapping[str, Tensor], shown: Batch) -> Predictions:
    """Return the answers of a pass through the whole network, in the plainest way."""
    with torch.inference_mode():
        logits = functional_call(
            network.module, network.prepare_weights(state), (network.prepare_images(shown.images),)
        )
    p = torch.softmax(logits, dim=1)
    own = p[torch.arange(len(shown.labels)), shown.labels]
    highest = p.amax(1)
    return Predictions(p.argmax(1) == shown.labels, own >= CLOSE_CALL_SHARE * highest, own)


def same(first: Predictions, second: Predictions) -> None:
    for name in ("correct", "close", "confidence"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0)


def everything(shown: Calibration) -> tuple[Batch, ...]:
    return (*shown.forgotten, *shown.retained)


def check(network: Network, shown: Calibration, predictor: CandidatePredictor) -> None:
    """Ask about every depth and batch, back and forth, and compare."""
    for depth in (*DEPTHS, *reversed(DEPTHS)):
        state = edited(network, depth)
        asked = candidate(state, depth)
        for images in everything(shown):
            expected = plain(network, state, images)
            assert not torch.equal(expected.confidence, plain(network, network.state(), images).confidence)
            same(predictor.predict(asked, images), expected)
            same(predictor.anchor_predictions(images), plain(network, network.state(), images))


def test_a_predictor_answers_at_every_depth_what_a_plain_pass_answers(network: Network, shown: Calibration) -> None:
    check(network, shown, CandidatePredictor(network, shown, DEPTHS, MASKED))


def test_so_it_does_on_a_network_laid_out_channels_last(network: Network, shown: Calibration) -> None:
    network.move(torch.device("cpu"))
    check(network, shown, CandidatePredictor(network, shown, DEPTHS, MASKED))


@pytest.mark.parametrize(
    ("share", "close"), [(1.1, True), (CLOSE_CALL_SHARE + 0.01, True), (CLOSE_CALL_SHARE - 0.01, False), (0.1, False)]
)
def test_a_class_is_close_from_a_share_of_the_highest_probability_on(*, share: float, close: bool) -> None:
    # A network that hands logits through; class 0 has the share of class 1, and class 2 almost nothing.
    handing = nn.Linear(CLASSES, CLASSES)
    with torch.no_grad():
        handing.weight.copy_(torch.eye(CLASSES))
        handing.bias.zero_()
    network = Network.of(nn.Sequential(nn.Flatten(), handing), build_plugins().layer_handlers())
    logits = torch.tensor([share, 1.0, 1e-6]).log().reshape(1, CLASSES, 1, 1).repeat(4, 1, 1, 1)
    images = Batch(logits, torch.zeros(4, dtype=torch.long))
    answers = CandidatePredictor(network, Calibration((images,), (images,)), (1,), ()).predict(
        candidate(network.state(), 1), images
    )
    assert answers.close.tolist() == [close] * 4
    assert answers.correct.tolist() == [share > 1] * 4
    torch.testing.assert_close(answers.confidence, torch.full((4,), share / (share + 1 + 1e-6)))


def test_depths_that_it_was_not_told_of_are_answered_by_whole_passes(network: Network, shown: Calibration) -> None:
    predictor = CandidatePredictor(network, shown, (1,), MASKED)
    for depth in DEPTHS:
        state = edited(network, depth)
        same(predictor.predict(candidate(state, depth), shown.retained[0]), plain(network, state, shown.retained[0]))


def test_registered_weights_walk_each_batch_once_for_all_depths(network: Network, shown: Calibration) -> None:
    counting = network.module.counting
    assert isinstance(counting, Counting)
    predictor = CandidatePredictor(network, shown, DEPTHS, MASKED)
    before = counting.passes
    for images in everything(shown):
        predictor.anchor_predictions(images)
    assert counting.passes == before + 4
    for depth in (1, 2, 3):
        for images in everything(shown):
            predictor.predict(candidate(edited(network, depth), depth), images)
    assert counting.passes == before + 4


def test_without_memory_for_records_every_answer_is_a_whole_pass(
    network: Network, shown: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = network.module.counting
    assert isinstance(counting, Counting)
    monkeypatch.setattr(start_places, "MAX_RECORDED_BYTES", 0)
    predictor = CandidatePredictor(network, shown, DEPTHS, MASKED)
    before = counting.passes
    predictor.predict(candidate(edited(network, 1), 1), shown.retained[0])
    predictor.predict(candidate(edited(network, 1), 1), shown.retained[0])
    assert counting.passes == before + 2
    check(network, shown, predictor)


def test_memory_goes_to_shallow_edits_first(
    network: Network, shown: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = network.module.counting
    assert isinstance(counting, Counting)
    # What squeeze puts out, 6 numbers of 4 bytes, for each of the 20 images.
    monkeypatch.setattr(start_places, "MAX_RECORDED_BYTES", 6 * 4 * 20)
    predictor = CandidatePredictor(network, shown, DEPTHS, MASKED)
    predictor.anchor_predictions(shown.retained[0])
    before = counting.passes
    predictor.predict(candidate(edited(network, 1), 1), shown.retained[0])
    assert counting.passes == before
    predictor.predict(candidate(edited(network, 2), 2), shown.retained[0])
    assert counting.passes == before + 1
    check(network, shown, predictor)


def test_what_few_candidates_are_shown_is_recorded_only_where_memory_is_left(
    network: Network, shown: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = network.module.counting
    assert isinstance(counting, Counting)
    seldom = replace(shown, retained=(shown.retained[0], replace(shown.retained[1], frequent=False)))
    for memory, passes in ((start_places.MAX_RECORDED_BYTES, 0), (6 * 4 * 15, 1)):
        # What squeeze puts out, 6 numbers of 4 bytes, for each of the 15 images of the others.
        monkeypatch.setattr(start_places, "MAX_RECORDED_BYTES", memory)
        predictor = CandidatePredictor(network, seldom, DEPTHS, MASKED)
        for images in seldom.retained:
            predictor.anchor_predictions(images)
        before = counting.passes
        for images in seldom.retained:
            predictor.predict(candidate(edited(network, 1), 1), images)
        assert counting.passes == before + passes
        check(network, seldom, predictor)


@given(
    depths=st.sets(st.integers(1, 40), min_size=1, max_size=8),
    data=st.data(),
)
def test_starts_fit_into_memory_and_save_what_they_can(depths: set[int], data: st.DataObject) -> None:
    layers = max(depths)
    room = {depth: data.draw(st.integers(0, start_places.MAX_RECORDED_BYTES * 2)) for depth in depths}
    most = start_places.MAX_RECORDED_BYTES
    starts, _ = start_places.cheapest_starts(sorted(depths), room, layers, most, (1, 0))
    assert all(start >= depth for depth, start in starts.items())
    assert sum(room[start] for start in set(starts.values())) <= most
    saved = sum(layers - start for start in starts.values())
    for depth in depths:
        if room[depth] <= most:
            alone = sum(layers - depth for other in depths if other <= depth)
            assert saved >= alone, "it saves at least what any one place saves"


def test_a_deep_place_serves_shallow_candidates_too() -> None:
    most = start_places.MAX_RECORDED_BYTES
    # Two of the large ones fit. Shallow ones first would leave three depths to whole passes.
    room = {1: 1000, 2: most // 3, 4: most // 3, 7: most // 3, 13: most // 3, 25: most // 3}
    starts, _ = start_places.cheapest_starts([1, 2, 4, 7, 13, 25, 50], room, 50, most, (1, 0))
    assert starts[7] in (7, 13)
    assert sum(starts.get(depth, 50) for depth in (1, 2, 4, 7, 13, 25, 50)) <= 135


def test_places_are_chosen_for_frequent_and_other_images_together() -> None:
    # As of a ViT-B/16: a shallow place needs two tensors, and a deep one needs one.
    room = {1: 3, 2: 1800, 4: 1200, 7: 1200, 13: 600, 25: 600}
    often, seldom = start_places.cheapest_starts([1, 2, 4, 7, 13, 25, 50], room, 50, 1_000_000, (500, 0))
    assert set(often.values()) == {1, 7, 25}, "with the memory for themselves"
    assert set(seldom.values()) <= {1, 7, 25}
    often, seldom = start_places.cheapest_starts([1, 2, 4, 7, 13, 25, 50], room, 50, 1_000_000, (500, 500))
    assert set(often.values()) == {1, 13, 25}
    assert set(seldom.values()) == {1, 13}
    assert start_places.cheapest_starts([1, 2], {1: 5, 2: 5}, 2, 4, (1, 1)) == ({}, {})


@given(data=st.data())
def test_no_other_choice_of_places_leaves_less_to_run(data: st.DataObject) -> None:
    depths = sorted(data.draw(st.sets(st.integers(1, 12), min_size=1, max_size=4)))
    room = {depth: data.draw(st.integers(0, 10)) for depth in depths}
    images = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    memory = data.draw(st.integers(0, 40))

    def ran(places: Collection[int]) -> int:
        return sum(min((one for one in places if one >= depth), default=12) for depth in depths)

    def cost(choice: Sequence[Collection[int]]) -> float:
        return images[0] * ran(choice[0]) + images[1] * ran(choice[1]) / len(depths)

    found = [set(starts.values()) for starts in start_places.cheapest_starts(depths, room, 12, memory, images)]
    assert found[1] <= found[0]
    assert sum(room[d] * count for own, count in zip(found, images, strict=True) for d in own) <= memory
    often = {depth for depth in depths if data.draw(st.booleans())}
    seldom = {depth for depth in often if data.draw(st.booleans())}
    if sum(room[d] * count for own, count in zip((often, seldom), images, strict=True) for d in own) <= memory:
        assert cost(found) <= cost((often, seldom)) + 1e-9


def test_answers_that_are_no_numbers_are_an_error(network: Network, shown: Calibration) -> None:
    predictor = CandidatePredictor(network, shown, DEPTHS, MASKED)
    for depth in DEPTHS:
        with pytest.raises(NonFiniteError, match="NaN or infinity"):
            predictor.predict(candidate(edited(network, depth, by=float("nan")), depth), shown.retained[0])
    # The predictor is as good as before.
    check(network, shown, predictor)


def test_the_network_is_left_as_it_was(network: Network, shown: Calibration) -> None:
    before = {name: tensor.clone() for name, tensor in network.state().items()}
    images = [b.images.clone() for b in everything(shown)]
    check(network, shown, CandidatePredictor(network, shown, DEPTHS, MASKED))
    for name, tensor in network.state().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    for b, pixels in zip(everything(shown), images, strict=True):
        torch.testing.assert_close(b.images, pixels, rtol=0, atol=0)
    assert not network.module.training
    assert not any("forward" in vars(m) or m._forward_hooks for m in network.module.modules())


# -- scores -------------------------------------------------------------------------------------------


def predictions(correct: list[bool], confidence: list[float]) -> Predictions:
    return Predictions(torch.tensor(correct), torch.tensor(correct), torch.tensor(confidence))


def test_scores_average_over_images_not_over_batches() -> None:
    judged = Scores.of([predictions([True, False, True], [0.5, 0.25, 0.75]), predictions([False], [0.0])])
    assert judged == Scores(accuracy=0.5, confidence=0.375)


def test_scores_of_chosen_images_look_at_no_other() -> None:
    shown = [predictions([True, False], [0.5, 0.25]), predictions([True], [1.0])]
    assert Scores.of(shown, torch.tensor([True, False, True])) == Scores(1.0, 0.75)
    assert Scores.of(shown, torch.tensor([False, True, False])) == Scores(0.0, 0.25)


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=2, max_size=30),
    st.data(),
)
def test_scores_do_not_depend_on_how_images_are_batched(seen: list[tuple[bool, float]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(seen) - 1))
    correct, confidence = [c for c, _ in seen], [p for _, p in seen]
    whole = Scores.of([predictions(correct, confidence)])
    parts = Scores.of([predictions(correct[:cut], confidence[:cut]), predictions(correct[cut:], confidence[cut:])])
    assert whole == parts
    assert whole.accuracy == pytest.approx(sum(correct) / len(correct))
    assert whole.confidence == pytest.approx(sum(confidence) / len(confidence))


def test_weights_that_nobody_else_wants_are_not_kept(network: Network, shown: Calibration) -> None:
    predictor = CandidatePredictor(network, shown, DEPTHS, MASKED)
    state = edited(network, 1)
    weight = weakref.ref(state["head.weight"])
    predictor.predict(candidate(state, 1), shown.retained[0])
    del state
    gc.collect()
    assert weight() is None
