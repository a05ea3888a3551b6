"""Images and code that move, change or go: what is noticed, how one goes on, and what of the earlier work is kept."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ledger.plugins.data.digits import split_scans
from ledger.plugins.data.npz import NpzSource

from ledger.domain.data_record import BadImages
from ledger.domain.models import Architecture
from ledger.domain.states import RequestState
from ledger.errors import CodeError, ConflictError, DataError
from ledger.service.models.rebind import rebind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.desk import Desk

NAME = "copy"
EACH = 40
"""Training images of each digit."""


def digits(path: Path, *, without: tuple[int, ...] = (), changed: int | None = None, fewer: int | None = None) -> str:
    """Write some digits as an npz file; of one class an image differs, of another one is missing."""
    arrays: dict[str, Any] = {}
    for split, scans, each in zip(("train", "test"), split_scans(), (EACH, 20), strict=True):
        chosen = [np.flatnonzero(scans.digits == k)[: each - (k == fewer)] for k in range(10) if k not in without]
        places = np.sort(np.concatenate(chosen))
        images = scans.images[places].copy()
        if changed is not None and split == "train":
            images[np.flatnonzero(scans.digits[places] == changed)[0], 0, 0] ^= 255
        arrays |= {f"x_{split}": images, f"y_{split}": scans.digits[places]}
    np.savez(path, labels=np.array([str(k) for k in range(10)]), **arrays)
    return f"npz:{path}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "digits.npz"


@pytest.fixture
def copy(desk: Desk, source: Path) -> Desk:
    """A desk with a second model, whose images lie in a file, and that has forgotten 3."""
    desk.register(NAME, data_spec=digits(source))
    desk.forget(3, model=NAME)
    return desk


def collected(desk: Desk) -> Counter[int]:
    """Return how many class spaces were collected of each class of the second model."""
    return Counter(e.data["class"] for e in desk.events("class_space.collected") if e.model == NAME)


def refused(desk: Desk, *classes: int) -> tuple[int, DataError]:
    """File a request that cannot be carried out; return its number and why."""
    filed = desk.file(*classes, model=NAME)
    [outcome] = desk.work(NAME)
    assert isinstance(outcome.error, DataError)
    assert desk.state(filed.id) is RequestState.FAILED
    return filed.id, outcome.error


def bind_with_reason(desk: Desk) -> None:
    """Accept what changed, after it was refused without a reason and nothing was recorded."""
    with desk.unchanged(), pytest.raises(ConflictError) as raised:
        rebind(desk.ledger, NAME)
    assert "--accept-changes" in raised.value.hint
    rebind(desk.ledger, NAME, accept="asked to")


def test_a_change_of_one_class_is_named_accepted_and_costs_its_class_space_alone(copy: Desk, source: Path) -> None:
    before = collected(copy)
    digits(source, fewer=7)
    number, error = refused(copy, 5)
    assert f"7 (train {EACH} -> {EACH - 1} images; test 20 -> 19 images)" in error.message
    assert "unledger model rebind copy --accept-changes" in error.hint
    assert "unledger request retry" in error.hint
    bind_with_reason(copy)
    [event] = copy.events("model.data_changed")
    assert event.data["changed"] == [[7, EACH, EACH - 1, 20, 19]]
    assert event.note == "asked to"
    version = copy.retry(number)
    assert version is not None
    assert version.forgotten == {3, 5}
    # The other classes moved within the file, and are what they were.
    assert collected(copy) - before == Counter({7: 1})
    assert version.recipe.data == copy.model(NAME).data_digest != copy.versions(NAME)[1].recipe.data


def test_an_image_of_the_same_size_that_differs_is_noticed(copy: Desk, source: Path) -> None:
    digits(source, changed=0)
    _, error = refused(copy, 5)
    assert "0 (train images or their names are others)" in error.message


def test_images_of_a_forgotten_class_may_go(copy: Desk, source: Path) -> None:
    before = collected(copy)
    digits(source, without=(3,))
    number, error = refused(copy, 5)
    assert f"3 (train {EACH} -> 0 images; test 20 -> 0 images)" in error.message
    bind_with_reason(copy)
    assert copy.events("model.data_changed")[0].data["gone"] == [3]
    version = copy.retry(number)
    assert version is not None
    assert version.forgotten == {3, 5}
    assert collected(copy) == before
    # What nobody could measure has no figure.
    assert set(version.recipe.forgotten) == {5}
    # The set from before is used again, and so it comes back to the same bytes.
    assert copy.withdraw(number) is not None
    assert copy.live(NAME).weights == copy.versions(NAME)[1].weights


def test_images_that_come_back_need_no_reason(copy: Desk, source: Path) -> None:
    digits(source, without=(3,))
    rebind(copy.ledger, NAME, accept="deleted")
    digits(source)
    assert "3 (train 40 images, which were gone, are back" in refused(copy, 5)[1].message
    assert rebind(copy.ledger, NAME).model.data.gone == frozenset()
    assert copy.model(NAME).data_digest == copy.versions(NAME)[1].recipe.data


def test_a_class_that_went_before_it_is_forgotten_blocks_nobody_else(copy: Desk, source: Path) -> None:
    digits(source, without=(8,))
    rebind(copy.ledger, NAME, accept="deleted first")
    version = copy.forget(5, model=NAME)
    assert version.forgotten == {3, 5}
    # Of 8 nobody could tell whether it is forgotten, so nobody says so.
    number, error = refused(copy, 8)
    assert "no image of 8 is left" in error.message
    digits(source)
    rebind(copy.ledger, NAME)
    assert copy.retry(number) is not None
    assert set(copy.live(NAME).recipe.forgotten) == {3, 5, 8}


def test_the_same_images_elsewhere_are_taken_note_of(copy: Desk, source: Path) -> None:
    before, digest = collected(copy), copy.model(NAME).data_digest
    moved = source.with_name("moved.npz")
    shutil.move(source, moved)
    number, error = refused(copy, 5)
    assert str(source) in error.message
    result = rebind(copy.ledger, NAME, f"npz:{moved}")
    assert (result.changed, result.gone, result.moved) == ((), (), True)
    assert (copy.model(NAME).data_spec, copy.model(NAME).data_digest) == (f"npz:{moved}", digest)
    assert copy.retry(number) is not None
    assert collected(copy) == before


def test_a_model_of_an_earlier_release_goes_on_and_is_brought_to_the_new_way(
    desk: Desk, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    desk.ledger.tell = told.append
    with monkeypatch.context() as earlier:
        earlier.setattr(NpzSource, "digest", NpzSource.earlier_digest)
        earlier.delattr(NpzSource, "contents")
        desk.register(NAME, data_spec=digits(source))
        desk.forget(3, model=NAME)
    before = collected(desk)
    assert desk.model(NAME).data.classes == ()
    number = desk.file(5, model=NAME)
    [outcome] = desk.work(NAME)
    assert (outcome.request.id, outcome.error) == (number.id, None)
    assert any("unledger model rebind copy" in sentence for sentence in told)
    assert rebind(desk.ledger, NAME).changed == ()
    assert len(desk.model(NAME).data.classes) == 10
    desk.forget(8, model=NAME)
    # Nothing had to be collected again: 5 and 8 are forgotten with the images that they were protected with.
    assert collected(desk) == before
    # A set from before the rebinding is used again.
    assert desk.withdraw(number.id + 1) is not None
    assert desk.live(NAME).weights == desk.versions(NAME)[2].weights


def test_code_that_changed_is_accepted_with_a_reason(desk: Desk, tmp_path: Path) -> None:
    spec, _, factory = desk.digits.architecture.rpartition(":")
    file = tmp_path / "net.py"
    shutil.copy(spec, file)
    desk.register(NAME, data_spec=digits(tmp_path / "digits.npz"), architecture=Architecture(f"{file}:{factory}", {}))
    desk.forget(3, model=NAME)
    before = collected(desk)
    file.write_text(file.read_text() + "\n# harmless\n")
    filed = desk.file(5, model=NAME)
    [outcome] = desk.work(NAME)
    assert isinstance(outcome.error, CodeError)
    bind_with_reason(desk)
    assert desk.retry(filed.id) is not None
    assert collected(desk) - before == Counter(dict.fromkeys(range(10), 1))
    # The same code in another place needs no reason.
    moved = file.rename(tmp_path / "net2.py")
    assert rebind(desk.ledger, NAME, architecture=f"{moved}:{factory}").moved
    assert desk.forget(8, model=NAME).forgotten == {3, 5, 8}
    with desk.unchanged(), pytest.raises(DataError, match="no folder"):
        rebind(desk.ledger, NAME, f"folder:{tmp_path}/nowhere", bad_images=BadImages.SKIP)
