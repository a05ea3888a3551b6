"""Means and masked predictions beside class spaces: stored, found, and collected again where they are missing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from ledger.plugins.solvers.projection import ProjectionSolver
from ledger.plugins.solvers.redirect import RedirectSolver

from ledger.algebra.spaces import Space
from ledger.domain.class_spaces import ClassSpace, NewClassSpace, Role
from ledger.errors import DataError
from ledger.service.computation import class_space_cache
from ledger.service.computation.class_space_cache import ClassSpaceCache, CollectedSpace
from ledger.service.computation.class_space_collection import Specs, class_space_specs, collect_class_space
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.models.rebind import rebind
from ledger.service.progress import Silent
from ledger.spaces.bases import Basis
from tests.ledgers.desk import MODEL, Desk
from tests.service.test_rebind import NAME, digits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORGOTTEN = frozenset({3})


class Noted(Silent):
    """Keeps the phases."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int | None]] = []

    def phase(self, name: str, total: int | None = None) -> None:
        """Note it."""
        self.phases.append((name, total))


@contextmanager
def earlier_release() -> Iterator[None]:
    """Collect and find class spaces as releases did that knew no means."""

    def specs(bench: Workbench, class_index: int, images: Any) -> Specs:
        bare = class_space_specs(bench, class_index, images).bare
        return Specs(bare, bare)

    def collect(*arguments: Any, **_: Any) -> Any:
        return collect_class_space(*arguments, bare=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_space_cache, "class_space_specs", specs)
        patch.setattr(class_space_cache, "collect_class_space", collect)
        yield


@pytest.fixture
def needs_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a solver of every model compute with means."""
    monkeypatch.setattr(ProjectionSolver, "needs_means", True, raising=False)


@pytest.fixture
def nobody_needs_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no solver of any model compute with means."""
    monkeypatch.setattr(RedirectSolver, "needs_means", False)


def collected(desk: Desk, name: str = MODEL) -> tuple[list[CollectedSpace[ClassSpace]], list[tuple[str, int | None]]]:
    noted = Noted()
    return list(ClassSpaceCache(open_workbench(desk.ledger, name)).collect_and_store(FORGOTTEN, noted)), noted.phases


def previewed(desk: Desk) -> tuple[list[CollectedSpace[NewClassSpace]], list[tuple[str, int | None]]]:
    noted = Noted()
    return list(ClassSpaceCache(open_workbench(desk.ledger, MODEL)).collect_only(FORGOTTEN, noted)), noted.phases


def digests(found: list[CollectedSpace[ClassSpace]]) -> list[str]:
    return [one.record.object_digest for one in found]


def assert_complete(found: CollectedSpace[Any]) -> None:
    assert found.statistics.prediction is not None
    assert float(found.statistics.prediction[found.record.class_index]) == 0.0
    assert all(space.mean is not None and bool(space.mean.any()) for space in found.spaces.values())


def test_new_class_spaces_hold_means_and_are_the_same_in_every_ledger(desk: Desk, second_desk: Desk) -> None:
    first, phases = collected(desk)
    assert phases == [("collect", 10), ("class spaces", 10)]
    for one in first:
        assert_complete(one)
    assert digests(collected(second_desk)[0]) == digests(first)


@pytest.mark.usefixtures("nobody_needs_means")
def test_spaces_without_means_are_used_as_they_are_where_nobody_needs_means(desk: Desk) -> None:
    with earlier_release():
        before, _ = collected(desk)
    after, phases = collected(desk)
    assert phases == [("class spaces", 10)]
    assert digests(after) == digests(before)
    assert all(one.statistics.prediction is None for one in after)
    assert previewed(desk)[1] == [("class spaces", 10)]


def test_spaces_without_means_are_collected_again_once_and_said_where_a_solver_needs_them(
    desk: Desk, second_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with earlier_release():
        before, _ = collected(desk)
    monkeypatch.setattr(ProjectionSolver, "needs_means", True, raising=False)
    with desk.unchanged():
        seen, phases = previewed(desk)
    assert phases == [("class spaces, 10 again for their means", 10)]
    for one in seen:
        assert_complete(one)
    after, phases = collected(desk)
    again = "collect again for their means, which an earlier release did not store"
    assert phases == [(again, 10), ("class spaces", 10)]
    assert {one.record.id for one in after}.isdisjoint(one.record.id for one in before)
    for old, new in zip(before, after, strict=True):
        assert_complete(new)
        # The second moments are those from before, and the old ones stay for the versions that used them.
        for key, space in old.spaces.items():
            other = new.spaces[key]
            assert isinstance(space, Space)
            assert isinstance(other, Space)
            torch.testing.assert_close(other.factor, space.factor, rtol=0, atol=0)
        assert old.record.object_digest in desk.ledger.objects
    assert digests(after) == digests(collected(second_desk)[0]), "as if there had been no earlier release"
    assert collected(desk)[1] == [("class spaces", 10)], "nothing is left to collect"
    assert len(desk.events("class_space.collected")) == 20
    monkeypatch.undo()
    assert digests(collected(desk)[0]) == digests(after), "other solvers take what there is"


@pytest.mark.usefixtures("nobody_needs_means")
def test_a_lost_space_without_means_is_made_again_to_the_same_bytes(desk: Desk) -> None:
    with earlier_release():
        before, _ = collected(desk)
    desk.ledger.objects.destroy(before[4].record.object_digest)
    after, _ = collected(desk)
    assert [(one.record.id, one.record.object_digest) for one in after] == [
        (one.record.id, one.record.object_digest) for one in before
    ]
    assert before[4].record.object_digest in desk.ledger.objects


@pytest.mark.usefixtures("needs_means")
def test_a_retained_class_whose_images_are_gone_does_without_means(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "digits.npz"
    desk.register(NAME, data_spec=digits(source))
    with earlier_release():
        collected(desk, NAME)
    digits(source, without=(8,))
    rebind(desk.ledger, NAME, accept="deleted")
    found, phases = collected(desk, NAME)
    assert phases[0][1] == 9
    retain = Basis(Role.RETAIN, list(found[0].spaces), torch.device("cpu"))
    for one in found:
        retain.add(one.record.class_index, one.statistics)
    assert retain.class_indices == (0, 1, 2, 3, 4, 5, 6, 7, 9)
    assert retain.predictions().shape == (10, 9)
    key = next(iter(found[0].spaces))
    assert len(retain.spaces(key)) == 10
    assert retain.means(key).shape[1] == 9


@pytest.mark.usefixtures("needs_means")
def test_a_forgotten_class_whose_images_are_gone_without_means_is_refused_at_once(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "digits.npz"
    desk.register(NAME, data_spec=digits(source))
    with earlier_release():
        collected(desk, NAME)
    digits(source, without=(3,))
    rebind(desk.ledger, NAME, accept="deleted")
    with (
        desk.unchanged(),
        pytest.raises(DataError, match=r"the images of 3 are gone, and .* without the means") as raised,
    ):
        collected(desk, NAME)
    assert "restore them, then: unledger model rebind copy" in raised.value.hint
