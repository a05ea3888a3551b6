"""Look-alike groups of a class: who belongs to them by hand, and where their mean rows lie."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.spaces import Space
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces.activations import collect_spaces
from ledger.spaces.look_alikes import MOST_LOOK_ALIKES, SMALLEST_SHARE, ImageMeans, LookAlikes, deviations, look_alikes
from ledger.spaces.positions import PositionSampler


def predictions(seed: int, images: int, classes: int) -> Tensor:
    """Return masked predictions of class 0, float64 (n, classes)."""
    logits = 3 * torch.randn(images, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[:, 0] = -torch.inf
    return logits.softmax(1)


def space_of(rows: Tensor, max_rank: int | None = None) -> Space:
    accumulator = CovarianceAccumulator(rows.shape[1], max_rank=max_rank or rows.shape[1])
    accumulator.update(rows)
    return accumulator.space()


# -- groups -------------------------------------------------------------------------------------------


def test_groups_by_hand() -> None:
    each = torch.tensor([[0, 0.9, 0.1, 0], [0, 0.5, 0.5, 0], [0, 0.1, 0.9, 0], [0, 0.1, 0.9, 0]], dtype=torch.float64)
    found = look_alikes(each)
    assert found.classes.tolist() == [2, 1]
    assert found.shares.tolist() == pytest.approx([0.6, 0.4])
    # Of the group of class 2: images weigh .1, .5, .9 and .9 of 2.4; of that of class 1: .9, .5, .1 and .1 of 1.6.
    own = (0.01 + 0.25 + 0.81 + 0.81) / 2.4
    other = (0.81 + 0.25 + 0.01 + 0.01) / 1.6
    torch.testing.assert_close(
        found.predictions, torch.tensor([[0, 0], [1 - own, other], [own, 1 - other], [0, 0]], dtype=torch.float32)
    )
    assert (found.shares.dtype, found.predictions.dtype) == (torch.float32, torch.float32)


@given(seed=st.integers(0, 2**16), images=st.integers(1, 30), classes=st.integers(2, 9))
def test_what_holds_for_all_groups(seed: int, images: int, classes: int) -> None:
    each = predictions(seed, images, classes)
    found, shares = look_alikes(each), each.mean(0)
    kept = found.classes.tolist()
    assert 0 not in kept
    assert len(kept) == len(set(kept)) <= MOST_LOOK_ALIKES
    assert found.shares.tolist() == sorted(found.shares.tolist(), reverse=True)
    torch.testing.assert_close(found.shares, shares[kept].float())
    left_out = [float(s) for k, s in enumerate(shares) if k not in kept]
    assert all(s < SMALLEST_SHARE or (len(kept) == MOST_LOOK_ALIKES and s <= found.shares[-1]) for s in left_out)
    torch.testing.assert_close(found.predictions.sum(0), torch.ones(len(kept)))
    # What the groups resemble adds up to what the class does, each by its share; what was left out is missing.
    if all(s == 0 for s in left_out):
        torch.testing.assert_close((found.predictions @ found.shares).double(), shares, rtol=0, atol=1e-6)
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    again = look_alikes(each[order])
    torch.testing.assert_close(again.shares, found.shares)


def test_of_equal_shares_the_first_classes_are_kept() -> None:
    even = torch.full((3, 8), 1 / 7, dtype=torch.float64)
    even[:, 0] = 0
    assert look_alikes(even).classes.tolist() == [1, 2, 3, 4]
    assert MOST_LOOK_ALIKES == 4


@pytest.mark.parametrize("images", [1, 5])
def test_a_class_that_resembles_a_thousand_others_alike_has_no_group(images: int) -> None:
    even = torch.full((images, 1001), 1e-3, dtype=torch.float64)
    even[:, 0] = 0
    found = look_alikes(even)
    assert (found.classes.tolist(), found.shares.tolist()) == ([], [])
    assert found.predictions.shape == (1001, 0)
    even[:, 7] = SMALLEST_SHARE
    assert look_alikes(even).classes.tolist() == [7]


# -- where their mean rows lie ------------------------------------------------------------------------


def group_means(image_means: Tensor, each: Tensor, groups: LookAlikes) -> Tensor:
    """Return the groups' mean rows less the class's, float64 (i, j), one image after the other."""
    columns = []
    for k in groups.classes.tolist():
        share = each[:, k] / each[:, k].sum()
        own = torch.stack([s * row.double() for s, row in zip(share, image_means, strict=True)]).sum(0)
        columns.append(own - image_means.double().mean(0))
    return torch.stack(columns, dim=1)


@given(
    seed=st.integers(0, 2**16),
    images=st.integers(2, 30),
    positions=st.integers(1, 3),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_deviations_are_exact_where_the_factor_spans_the_rows(
    seed: int, images: int, positions: int, scale: float
) -> None:
    rows = scale * torch.randn(images, positions, 6, generator=torch.Generator().manual_seed(seed))
    each = predictions(seed, images, 5)
    groups = look_alikes(each)
    space, means = space_of(rows.flatten(0, 1)), rows.mean(1)
    if space.rank < min(6, images * positions):
        return
    placed = replace(space, deviations=deviations(space, means, each, groups))
    assert placed.deviations is not None
    assert placed.deviations.shape == (space.rank, len(groups.classes))
    expected = group_means(means, each, groups)
    torch.testing.assert_close(placed.look_alike_deviations().double(), expected, rtol=2e-3, atol=1e-4 * scale)


def test_a_factor_that_spans_only_some_directions_tells_what_lies_in_them() -> None:
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([9.0, 8, 7, 1e-2, 1e-2, 1e-2])
    each = predictions(1, 20, 5)
    groups, space = look_alikes(each), space_of(rows, max_rank=3)
    found = replace(space, deviations=deviations(space, rows, each, groups)).look_alike_deviations().double()
    expected = group_means(rows, each, groups)
    basis = torch.linalg.qr(space.factor.double())[0]
    torch.testing.assert_close(found, basis @ (basis.T @ expected), rtol=1e-4, atol=1e-5)
    assert float((expected - found).norm()) > 1e-3


def test_without_energy_or_groups_there_is_nothing_to_tell() -> None:
    each = predictions(0, 4, 5)
    groups, dark = look_alikes(each), torch.zeros(4, 3)
    assert deviations(Space.empty(3, rows=4), dark, each, groups).shape == (0, len(groups.classes))
    none = LookAlikes(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(5, 0))
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert deviations(space_of(rows), rows, each, none).shape == (3, 0)
    assert space_of(rows).look_alike_deviations().shape == (3, 0)


# -- the mean row of each image -----------------------------------------------------------------------


@given(
    images=st.integers(1, 12),
    batch=st.integers(1, 5),
    positions=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    seed=st.integers(0, 2**16),
)
def test_image_means_of_several_positions_and_calls_however_batched(
    images: int, batch: int, positions: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    calls = [torch.randn(images, p, 3, generator=generator) for p in positions]
    kept = ImageMeans()
    for start in range(0, images, batch):
        for call in calls:
            kept.add("map", call[start : start + batch].flatten(0, 1))
        kept.end_batch(len(calls[0][start : start + batch]))
    found = kept.means()
    assert list(found) == ["map"]
    expected = torch.cat(calls, dim=1).double().mean(1).float()
    torch.testing.assert_close(found["map"], expected, rtol=1e-6, atol=1e-6)
    assert found["map"].dtype == torch.float32


def test_rows_that_do_not_belong_to_one_image_each_are_left_out_for_good() -> None:
    kept = ImageMeans()
    for images in (4, 3):
        kept.add("mixed", torch.ones(6, 2))
        kept.add("own", torch.ones(2 * images, 2))
        kept.end_batch(images)
    assert {key: len(found) for key, found in kept.means().items()} == {"own": 7}


# -- in one pass over the images ----------------------------------------------------------------------


class Twice(nn.Module):
    """Calls one layer on the images and on their mirror images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        both = self.conv(images).relu() + self.conv(images.flip(-1)).relu()
        answer: Tensor = self.head(both.mean((2, 3)))
        return answer


class Mixing(nn.Module):
    """Lets one layer see a single row for all images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(25, 5)
        self.head = nn.Linear(25, 5)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1)
        answer: Tensor = self.head(rows) + self.mix(rows.mean(0, keepdim=True))
        return answer


def collected(module: nn.Module, images: Tensor, batch: int) -> dict[str, Space]:
    network = Network.of(module, build_plugins().layer_handlers())
    found = collect_spaces(
        network, torch.split(images, batch), PositionSampler(0, 0, len(images)), max_rank=64, class_index=2
    )
    assert found.look_alikes is not None
    assert 2 not in found.look_alikes.classes.tolist()
    assert len(found.look_alikes.classes) == 4
    return {key: space for key, space in found.spaces.items() if isinstance(space, Space)}


def test_collected_deviations_do_not_depend_on_batches_and_are_those_of_the_images() -> None:
    torch.manual_seed(0)
    module, images = Twice().eval(), torch.randn(12, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = module(images).double()
    logits[:, 2] = -torch.inf
    each = logits.softmax(1)
    groups = look_alikes(each)
    at_once = collected(module, images, 12)
    windows = [nn.functional.unfold(side, 3).mT for side in (images, images.flip(-1))]
    expected = group_means(torch.cat(windows, dim=1).mean(1), each, groups)
    # The head has fewer images than inputs of the convolution have rows, and still spans its own.
    torch.testing.assert_close(at_once["conv.weight"].look_alike_deviations().double(), expected, rtol=1e-3, atol=1e-4)
    for batch in (1, 5):
        for key, space in collected(module, images, batch).items():
            torch.testing.assert_close(
                space.look_alike_deviations(), at_once[key].look_alike_deviations(), rtol=1e-3, atol=1e-4
            )


def test_a_layer_that_mixes_images_has_no_deviations_and_the_others_do() -> None:
    torch.manual_seed(0)
    found = collected(Mixing().eval(), torch.randn(12, 1, 5, 5, generator=torch.Generator().manual_seed(1)), 6)
    assert not bool(found["mix.weight"].look_alike_deviations().any())
    assert bool(found["head.weight"].look_alike_deviations().any())
