"""Activations recorded block by block: the same for a block, whoever is shown which of its images."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ledger.algebra.strength import Strength
from ledger.answers import start_places
from ledger.answers.activations import Activations
from ledger.answers.answer_blocks import AnswerBlock
from ledger.answers.calibration import Batch
from ledger.answers.calibration_sampling import SampledCalibration
from ledger.answers.start_places import StartPlaces
from ledger.candidates.candidate import Candidate, Recipe
from ledger.candidates.predictor import CandidatePredictor
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins

CLASSES, EACH = 3, 8
DEPTHS = (1, 2, 3)


class Middle(nn.Module):
    """A convolution whose output lies channels last, whatever its input does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += len(x)
        answer: Tensor = torch.relu(self.conv(x)).contiguous(memory_format=torch.channels_last)
        return answer


class PositionsFirst(nn.Module):
    """Returns positions before images, so that records of batches cannot be put together."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).permute(2, 0, 1)


class MeanFirst(nn.Module):
    """A layer that averages over the positions, which come first, in a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.linear(x.mean(0))
        return answer


def network(*, positions_first: bool = False) -> Network:
    torch.manual_seed(0)
    middle: Sequence[nn.Module] = (
        (PositionsFirst(), MeanFirst()) if positions_first else (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    )
    body = nn.Sequential(nn.Conv2d(2, 4, 3), Middle(), *middle, nn.ReLU(), nn.Linear(5, CLASSES))
    made = Network.of(body.eval(), build_plugins().layer_handlers())
    made.move(torch.device("cpu"))
    return made


PIXELS = torch.randn(CLASSES * EACH, 2, 6, 6, generator=torch.Generator().manual_seed(3))
BLOCKS = tuple(
    AnswerBlock(k, start, tuple(range(k * EACH + start, k * EACH + stop)))
    for k in range(CLASSES)
    for start, stop in ((0, 1), (1, 2), (2, 4), (4, 8))
)


def batch(*indices: int, frequent: bool = True) -> Batch:
    chosen = torch.tensor(indices)
    return Batch(PIXELS[chosen], chosen // EACH, indices=indices, frequent=frequent)


def load(block: AnswerBlock) -> Batch:
    return batch(*block.indices)


def calibration(forgotten: Sequence[Batch], retained: Sequence[Batch]) -> SampledCalibration:
    return SampledCalibration(tuple(forgotten), tuple(retained), blocks=BLOCKS, load=load)


SHOWN = calibration([batch(0, 1, 2, 5), batch(7)], [batch(8, 16, 9, 23, 11), batch(17, 12)])


def edited(net: Network, depth: int) -> Candidate:
    generator = torch.Generator().manual_seed(depth)
    state = {name: tensor.clone() for name, tensor in net.state().items()}
    for layer in net.layers[-depth:]:
        weight = state[f"{layer.name}.weight"]
        weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return Candidate(Recipe("any", depth, Strength(1.0, 1.0)), state, ())


def whole(net: Network, candidate: Candidate, shown: Batch) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = torch.func.functional_call(
            net.module, net.prepare_weights(candidate.state), (net.prepare_images(shown.images),)
        )
    return answer


@pytest.mark.parametrize("positions_first", [False, True])
def test_candidates_answer_as_whole_passes_do(*, positions_first: bool) -> None:
    net = network(positions_first=positions_first)
    predictor = CandidatePredictor(net, SHOWN, DEPTHS, {0})
    for depth in (*DEPTHS, *reversed(DEPTHS)):
        candidate = edited(net, depth)
        for shown in SHOWN.batches:
            expected = whole(net, candidate, shown)
            assert not torch.allclose(expected, whole(net, replace(candidate, state=net.state()), shown))
            torch.testing.assert_close(predictor.logits(candidate, shown), expected)


def test_a_block_is_computed_once_and_only_if_a_candidate_is_shown_one_of_its_images() -> None:
    net = network()
    middle = net.module.get_submodule("1")
    assert isinstance(middle, Middle)
    predictor = CandidatePredictor(net, SHOWN, DEPTHS, {0})
    middle.passes = 0
    for depth in (1, 2):
        for shown in SHOWN.forgotten:
            predictor.logits(edited(net, depth), shown)
    assert middle.passes == EACH, "the images of class 0, each once"
    predictor.logits(edited(net, 1), SHOWN.retained[1])
    assert middle.passes == EACH + 1 + 4, "the blocks of images 17 and 12"


def test_answers_are_the_same_to_the_bit_whether_recorded_before_or_now_and_among_whichever_images() -> None:
    net = network()
    others = calibration([batch(3, 0)], [batch(12, 8), batch(20, 17, 22), batch(1, 2, 5, 7)])
    before = Activations(net, others, StartPlaces(net, others, DEPTHS))
    for block in BLOCKS:
        with before.recording(block):
            net.module(net.prepare_images(load(block).images))
    places = StartPlaces(net, SHOWN, DEPTHS)
    handed = Activations(net, SHOWN, places)
    for block, recorded in before.known.items():
        # As from a file: values without the order in which they lay in memory.
        handed.put(block, {name: tensor.contiguous() for name, tensor in recorded.items()})
    middle = net.module.get_submodule("1")
    assert isinstance(middle, Middle)
    middle.passes = 0
    now, then = (CandidatePredictor(net, SHOWN, DEPTHS, {0}, None, known) for known in (None, handed))
    for depth in (1, 2):
        candidate = edited(net, depth)
        for shown in SHOWN.batches:
            passes = middle.passes
            found = then.logits(candidate, shown)
            assert middle.passes == passes, "nothing before the edit was computed"
            assert torch.equal(found, now.logits(candidate, shown))
    start = places.of(2, frequent=True)
    assert start is not None
    for module, together in zip(start.boundary, handed.of(SHOWN.retained[0], start.boundary), strict=True):
        assert together.shape[0] == 5
        if together.ndim == 4:
            assert together.is_contiguous(memory_format=torch.channels_last), module


def test_a_map_of_one_pixel_lies_as_the_network_lays_it_whether_recorded_before_or_now() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(2, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(64, 64, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, CLASSES),
    )  # fmt: skip
    net = Network.of(body.eval(), build_plugins().layer_handlers())
    net.move(torch.device("cpu"))
    shown = calibration([batch(*range(EACH))], [batch(*range(EACH, 3 * EACH))])
    found = []
    # None, all, or one of the blocks was recorded before, and lies as it comes from a file.
    for before in (0, len(BLOCKS), 1):
        activations = Activations(net, shown, StartPlaces(net, shown, (1, 2)))
        for block in BLOCKS[:before]:
            with activations.recording(block):
                net.module(net.prepare_images(load(block).images))
            plain = {name: torch.empty(one.shape).copy_(one) for name, one in activations.known[block].items()}
            activations.put(block, plain)
        predictor = CandidatePredictor(net, shown, (1, 2), {0}, None, activations)
        found.append([predictor.logits(edited(net, 2), one) for one in shown.batches])
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


class Position(nn.Module):
    """Returns the same for all images: with a row for each place, in a batch of its own, or as one number."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(shape))

    def forward(self) -> Tensor:
        return self.values * 1


class Placed(nn.Module):
    """Adds the same to what every layer reads."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.place = Position(*shape)
        self.stem = nn.Conv2d(2, 6, 3, stride=3)
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        place = self.place()
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = torch.relu(self.first(x + place))
        x = torch.relu(self.second(x + place))
        answer: Tensor = self.head((x + place).mean(1))
        return answer


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), ()])
@pytest.mark.parametrize("single", [False, True])
def test_what_is_the_same_for_all_images_is_read_as_a_whole(*, shape: tuple[int, ...], single: bool) -> None:
    torch.manual_seed(0)
    net = Network.of(Placed(*shape).eval(), build_plugins().layer_handlers())
    net.move(torch.device("cpu"))
    one_by_one = calibration([batch(i) for i in (0, 1, 2, 5)], [batch(i) for i in (8, 16, 12)])
    shown = one_by_one if single else SHOWN
    places = StartPlaces(net, shown, (1, 2, 3))
    # A number alone is computed again, which costs nothing.
    assert places.constant == ({net.module.get_submodule("place")} if shape else set())
    assert all("place" not in Activations(net, shown, places).wanted(block) for block in BLOCKS)
    predictor = CandidatePredictor(net, shown, (1, 2, 3), {0})
    for depth in (1, 2, 3):
        for one in shown.batches:
            candidate = edited(net, depth)
            torch.testing.assert_close(predictor.logits(candidate, one), whole(net, candidate, one))


@pytest.mark.parametrize("most", [0, 8, 6 * 4 * 12, 1 << 30])
def test_seldom_shown_images_may_lie_in_blocks_of_frequent_ones(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    seldom = calibration(
        [batch(*range(EACH))],
        [batch(8, 9, 10, 12, 16, 17, 18, 20), batch(11, 13, 14, 15, 19, 21, 22, 23, frequent=False)],
    )
    monkeypatch.setattr(start_places, "MAX_RECORDED_BYTES", most)
    predictor = CandidatePredictor(net, seldom, DEPTHS, {0})
    for depth in DEPTHS:
        for one in seldom.batches:
            candidate = edited(net, depth)
            torch.testing.assert_close(predictor.logits(candidate, one), whole(net, candidate, one))


def test_blocks_without_frequent_images_are_recorded_where_memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    seldom = calibration(SHOWN.forgotten, [SHOWN.retained[0], replace(SHOWN.retained[1], frequent=False)])
    assert all(Activations(net, seldom, StartPlaces(net, seldom, DEPTHS)).wanted(block) for block in BLOCKS)
    # What the layer before the last reads, 6 numbers of 4 bytes, for the images of blocks with frequent ones.
    often = {i for shown in (*SHOWN.forgotten, SHOWN.retained[0]) for i in shown.indices or ()}
    images = sum(len(block.indices) for block in BLOCKS if not often.isdisjoint(block.indices))
    monkeypatch.setattr(start_places, "MAX_RECORDED_BYTES", 6 * 4 * images)
    activations = Activations(net, seldom, StartPlaces(net, seldom, (2,)))
    left_out = {block for block in BLOCKS if not activations.wanted(block)}
    assert left_out == {block for block in BLOCKS if often.isdisjoint(block.indices)}
    assert left_out
