"""Closing the rollback window: what goes for good, what stays, and that work goes on without what was forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ledger.plugins.data.digits import split_scans
from sqlalchemy import text

from ledger.domain.states import Action, RequestState
from ledger.errors import ConflictError, DataError, LedgerError, ObjectError, PurgedError, RetryLaterError
from ledger.service.audit.replay import differences
from ledger.service.computation import reuse, unlearning
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.computation.diff import diff
from ledger.service.computation.unlearning import propose
from ledger.service.evidence.evaluation import evaluate
from ledger.service.models.rebind import rebind
from ledger.service.progress import Silent
from ledger.service.upkeep.purge import destroy_promised, plan_purge, purge
from ledger.service.versions.export import export
from ledger.service.versions.integrity import verify
from ledger.weights import tensor_files
from tests.ledgers.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.service.versions.proposal import Proposal

MODEL = "digits"
NOW = timedelta(0)
WINDOW = 32
"""Bytes of a tensor that must be nowhere."""


def close_window(desk: Desk, older_than: timedelta = NOW) -> list[str]:
    """Purge as the command does; desks live at a time of their own, which no database clock confirms."""
    return purge(desk.ledger, plan_purge(desk.ledger, MODEL, older_than), older_than, Silent(), clock_is_right=True)


def objects(desk: Desk) -> dict[str, str]:
    """Return the digest of every version's weights, of every class space and of every part of what is kept."""
    with desk.ledger.database.read() as tx:
        model = tx.models.get(MODEL)
        spaces = {f"space {s.class_index} {len(s.samples)}": s.object_digest for s in tx.class_spaces.all(model)}
        kept = {f"kept {p.object_digest}": p.object_digest for one in tx.kept_results.all(model) for p in one.parts}
    return {f"version {v.number}": v.weights for v in desk.versions()} | spaces | kept


def windows(tensors: dict[str, Any]) -> set[bytes]:
    """Return the aligned windows of some tensors' bytes, without those that hold a single value."""
    found = set()
    for tensor in tensors.values():
        data = tensor.numpy().tobytes()
        found |= {data[i : i + WINDOW] for i in range(0, len(data) - WINDOW + 1, WINDOW)}
    return {window for window in found if len(set(window)) > 4}


def everywhere(root: Path) -> bytes:
    """Return every byte below a folder."""
    return b"\0".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


def digits_file(path: Path, without: int | None = None, *, named: bool = True) -> str:
    """Write the digits as an npz file, without the images of a class, and perhaps without its name; return its spec."""
    arrays: dict[str, Any] = {}
    labels = [str(k) for k in range(10) if named or k != without]
    for split, scans in zip(("train", "test"), split_scans(), strict=True):
        kept = scans.digits != without
        arrays[f"x_{split}"] = scans.images[kept]
        arrays[f"y_{split}"] = np.array([labels.index(str(k)) for k in scans.digits[kept]])
    np.savez(path, labels=np.array(labels), **arrays)
    return f"npz:{path}"


# -- what goes ----------------------------------------------------------------------------------------


def test_superseded_weights_and_class_spaces_are_destroyed_and_the_live_version_is_served(two_forgotten: Desk) -> None:
    desk = two_forgotten
    before = objects(desk)
    lost = {name: digest for name, digest in before.items() if name != "version 2"}
    assert all(desk.ledger.objects.get(digest) for digest in before.values())
    accuracy = desk.test_accuracy()

    destroyed = close_window(desk)

    assert sorted(destroyed) == sorted(set(lost.values()))
    for digest in lost.values():
        assert digest not in desk.ledger.objects
        with pytest.raises(ObjectError):
            desk.ledger.objects.get(digest)
    assert [v.purged_at is not None for v in desk.versions()] == [True, True, False]
    assert desk.test_accuracy() == accuracy
    assert all(not problem for _, problem in verify(desk.ledger, MODEL))


def test_rows_digests_and_entries_stay_and_verify(two_forgotten: Desk) -> None:
    desk = two_forgotten
    before = [(v.number, v.weights, v.forgotten, v.recipe) for v in desk.versions()]
    with desk.ledger.database.read() as tx:
        size = tx.audit.verify().size
        leaves = [event.leaf for event in tx.audit.events()]
    destroyed = close_window(desk)
    assert [(v.number, v.weights, v.forgotten, v.recipe) for v in desk.versions()] == before
    with desk.ledger.database.read() as tx:
        assert tx.audit.verify().size == size + 1 + len(destroyed)
        assert [event.leaf for event in tx.audit.events()][:size] == leaves
    assert differences(desk.ledger) == []
    [event] = desk.events("model.purged")
    assert event.data == {"anchor": 2, "versions": [0, 1], "final": [1, 2]}
    assert {e.data["object"] for e in desk.events("object.destroyed")} == set(destroyed)


def test_no_window_of_a_tensor_is_left_anywhere(two_forgotten: Desk) -> None:
    desk = two_forgotten
    tensors = set[bytes]()
    for name, digest in objects(desk).items():
        stored = tensor_files.parse(desk.ledger.objects.get(digest), name)
        assert name.startswith(("version", "kept")) or {"#means", "#prediction"} <= stored.keys()
        tensors |= windows(stored)
    assert len(tensors) > 1000
    close_window(desk)
    desk.close()
    kept = everywhere(desk.root)
    held = {kept[i : i + WINDOW] for i in range(len(kept) - WINDOW + 1)}
    assert len(kept) > 100_000
    assert not tensors & held


@pytest.mark.parametrize("number", [0, 1])
def test_a_purged_version_is_refused_everywhere(two_forgotten: Desk, number: int, tmp_path: Path) -> None:
    desk = two_forgotten
    close_window(desk)
    with desk.unchanged():
        for attempt in (
            lambda: desk.roll_back(number),
            lambda: export(desk.ledger, MODEL, number, tmp_path / "export"),
            lambda: evaluate(desk.ledger, MODEL, number, Silent()),
            lambda: evaluate(desk.ledger, MODEL, 2, Silent(), against=str(number)),
            lambda: diff(desk.ledger, MODEL, number, 2),
            lambda: desk.withdraw(1),
        ):
            with pytest.raises(PurgedError, match="purged"):
                attempt()
    assert not (tmp_path / "export").exists()


def test_only_what_was_superseded_before_the_window_goes(two_forgotten: Desk) -> None:
    desk = two_forgotten
    desk.later(days=40)
    desk.forget(1)
    desk.later(days=10)
    plan = plan_purge(desk.ledger, MODEL, timedelta(days=30))
    # Version 2 was live when the window began; version 3 came in it.
    assert (plan.anchor.number, [v.number for v in plan.purged], [r.id for r in plan.final]) == (2, [0, 1], [1, 2])
    close_window(desk, timedelta(days=30))
    # What came in the window can still be undone, either way.
    assert desk.withdraw(3) is not None
    assert desk.live().forgotten == {3, 7}
    assert desk.live().weights == desk.versions()[2].weights
    with pytest.raises(PurgedError):
        desk.withdraw(2)


def test_before_the_window_has_passed_nothing_goes(two_forgotten: Desk) -> None:
    with two_forgotten.unchanged():
        assert close_window(two_forgotten, timedelta(days=30)) == []


def test_weights_that_a_kept_version_shares_with_a_purged_one_stay(two_forgotten: Desk) -> None:
    desk = two_forgotten
    desk.roll_back(0)
    close_window(desk)
    assert [v.purged_at is not None for v in desk.versions()] == [True, True, True, False]
    assert desk.live().weights == desk.versions()[0].weights
    assert min(desk.test_accuracy()) > 0.8
    # Nothing is forgotten for good, so everything can be asked for again, and withdrawn.
    assert desk.forget(5).forgotten == {5}
    assert desk.withdraw(3) is not None
    assert desk.live().forgotten == set()


# -- work goes on -------------------------------------------------------------------------------------


def test_later_requests_need_nothing_of_what_was_forgotten(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "digits.npz"
    desk.register("copy", data_spec=digits_file(source))
    known = desk_accuracy(desk, "copy")
    assert min(known) > 0.8
    desk.forget(3, model="copy")
    purge(desk.ledger, plan_purge(desk.ledger, "copy", NOW), NOW, Silent(), clock_is_right=True)

    # The images of 3 are deleted, and its name with them: all others move up by one.
    digits_file(source, without=3, named=False)
    filed = desk.file(5, model="copy")
    [done] = desk.work("copy")
    assert (done.request.id, done.error) == (filed.id, None)
    version = done.version

    assert version is not None
    assert version.forgotten == {3, 5}
    # Measured with all images, which are put back for that: the weights had to do without.
    digits_file(source)
    after = desk_accuracy(desk, "copy")
    # At most two of 46 images.
    assert max(after[3], after[5]) < 0.05
    assert np.mean([after[k] for k in range(10) if k not in (3, 5)]) > np.mean(known) - 0.05
    assert desk.withdraw(filed.id) is not None
    # The original is gone, so it can only be compared with what else there is.
    assert desk_accuracy(desk, "copy", against="2")[5] > 0.8


def desk_accuracy(desk: Desk, model: str, against: str = "base") -> list[float]:
    """Measure every class's test accuracy in a model's live version."""
    measured = evaluate(desk.ledger, model, None, Silent(), only=["accuracy"], against=against, train_per_class=1)
    each: list[float] = measured.evidence["accuracy"].metrics["test"]["per_class"]
    return each


def test_after_a_purge_the_state_is_still_a_function_of_the_set(two_forgotten: Desk, second_desk: Desk) -> None:
    first = two_forgotten
    second_desk.forget(7, 3)
    for desk, order in ((first, (1, 5)), (second_desk, (5, 1))):
        close_window(desk)
        for digit in order:
            desk.forget(digit)
    assert first.live().weights == second_desk.live().weights
    with first.ledger.database.read() as tx:
        terms = tx.versions.basis(first.live())
    assert {t.class_index for t in terms} == set(range(10)) - {3, 7}


def test_a_second_purge_moves_the_anchor_on(two_forgotten: Desk) -> None:
    desk = two_forgotten
    close_window(desk)
    desk.forget(1)
    destroyed = close_window(desk)
    assert desk.versions()[2].weights in destroyed
    assert [v.purged_at is not None for v in desk.versions()] == [True, True, True, False]
    assert desk.forget(0).forgotten == {0, 1, 3, 7}
    assert max(desk.test_accuracy()[k] for k in (0, 1, 3, 7)) <= 0.05


def test_evidence_names_the_anchor_that_a_version_was_compared_with(two_forgotten: Desk) -> None:
    desk = two_forgotten
    desk.test_accuracy()
    close_window(desk)
    desk.forget(1)
    desk.test_accuracy()
    assert [event.data["against"] for event in desk.events("version.evaluated")] == ["base", "2"]


def test_what_a_purge_left_is_never_compared_with_itself(two_forgotten: Desk) -> None:
    desk = two_forgotten
    before = evaluate(desk.ledger, MODEL, None, Silent(), only=["accuracy"])
    assert before.evidence["accuracy"].metrics["base_test"]["per_class"][3] > 0.9
    close_window(desk)
    with desk.unchanged():
        after = evaluate(desk.ledger, MODEL, None, Silent())
    assert after.measured_before
    assert after.evidence == before.evidence
    assert not before.measured_before


def test_where_nothing_was_measured_before_a_purge_nothing_is_left_to_compare_with(two_forgotten: Desk) -> None:
    desk = two_forgotten
    close_window(desk)
    with desk.unchanged(), pytest.raises(ConflictError, match="nothing is left to compare version 2") as refused:
        evaluate(desk.ledger, MODEL, None, Silent())
    assert "--retrained FILE" in refused.value.hint


def test_a_model_may_be_bound_to_what_it_is_bound_to(desk: Desk) -> None:
    with desk.unchanged():
        assert rebind(desk.ledger, MODEL).nothing


@pytest.mark.parametrize("missing", [5, 3])
def test_images_of_classes_that_are_kept_may_not_be_missing(two_forgotten: Desk, tmp_path: Path, missing: int) -> None:
    close_window(two_forgotten)
    spec = digits_file(tmp_path / "fewer.npz", without=missing)
    if missing == 3:
        with two_forgotten.unchanged(), pytest.raises(ConflictError, match="of single classes"):
            rebind(two_forgotten.ledger, MODEL, spec)
        assert rebind(two_forgotten.ledger, MODEL, spec, accept="from a file").model.data_spec == spec
        return
    with two_forgotten.unchanged(), pytest.raises(DataError, match="no train images of 5"):
        rebind(two_forgotten.ledger, MODEL, spec)


# -- accidents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("survived", [0, 1, 5])
def test_an_interrupted_purge_is_finished_by_the_next(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    desk = two_forgotten
    expected = sorted({digest for name, digest in objects(desk).items() if name != "version 2"})
    destroy = desk.ledger.objects.destroy
    done: list[str] = []

    def until_the_power_fails(digest: str) -> None:
        if len(done) == survived:
            raise LedgerError("power failure")
        done.append(digest)
        destroy(digest)

    monkeypatch.setattr(desk.ledger.objects, "destroy", until_the_power_fails)
    with pytest.raises(LedgerError, match="power"):
        close_window(desk)
    # Promised, so refused from now on, whether or not it is there.
    with pytest.raises(PurgedError):
        desk.roll_back(0)
    monkeypatch.undo()
    close_window(desk)
    assert sorted(e.data["object"] for e in desk.events("object.destroyed")) == expected
    assert not any(digest in desk.ledger.objects for digest in expected)
    assert destroy_promised(desk.ledger, Silent()) == []


def test_nothing_is_purged_while_a_request_is_carried_out(two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = two_forgotten
    refused = []

    def meanwhile(*arguments: Any) -> Proposal:
        with pytest.raises(ConflictError, match="carried out"):
            close_window(desk)
        refused.append(True)
        return propose(*arguments)

    monkeypatch.setattr(unlearning, "propose", meanwhile)
    desk.forget(1)
    assert refused
    assert desk.state(3) is RequestState.FULFILLED


@pytest.mark.parametrize("how", ["computed", "reused"])
def test_what_was_computed_across_a_purge_is_not_committed(
    two_forgotten: Desk, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = two_forgotten
    desk.forget(1)
    desk.later(days=40)
    desk.forget(5)

    def across(make: Any) -> Any:
        def meanwhile(*arguments: Any) -> Proposal:
            proposal: Proposal = make(*arguments)
            assert proposal is not None
            close_window(desk, timedelta(days=30))
            return proposal

        return meanwhile

    if how == "computed":
        # The set was computed before; here it shall be computed again.
        monkeypatch.setattr(Desk, "open_model", staticmethod(open_unlearning_afresh))
        monkeypatch.setattr(unlearning, "propose", across(propose))
    else:
        monkeypatch.setattr(reuse, "earlier_result", across(reuse.earlier_result))
    with pytest.raises(RetryLaterError, match="purged"):
        desk.withdraw(4)
    assert desk.live().forgotten == {1, 3, 5, 7}


def test_a_plan_that_is_out_of_date_is_not_carried_out(two_forgotten: Desk) -> None:
    plan = plan_purge(two_forgotten.ledger, MODEL, NOW)
    two_forgotten.forget(1)
    with two_forgotten.unchanged(), pytest.raises(ConflictError, match="changed since"):
        purge(two_forgotten.ledger, plan, NOW, Silent(), clock_is_right=True)


def test_versions_that_cannot_be_computed_from_each_other_are_not_parted(two_forgotten: Desk) -> None:
    desk = two_forgotten
    desk.later(days=40)
    desk.roll_back(0)
    desk.later(days=1)
    with desk.unchanged(), pytest.raises(ConflictError, match="had forgotten"):
        close_window(desk, timedelta(days=30))
    assert desk.decide(1, Action.DENY).state is RequestState.DENIED


def test_a_purge_that_the_history_does_not_tell_of_is_found(two_forgotten: Desk) -> None:
    with two_forgotten.ledger.database.engine.begin() as connection:
        connection.execute(text("UPDATE versions SET purged_at = '2026-01-05 09:00:00' WHERE number = 1"))
    [difference] = differences(two_forgotten.ledger)
    assert difference.startswith("versions digits/1: purged_at is")


def test_what_a_version_is_cannot_be_changed_by_a_purge_or_anything(two_forgotten: Desk) -> None:
    close_window(two_forgotten)
    engine = two_forgotten.ledger.database.engine
    for statement in (
        "UPDATE versions SET weights = '0' WHERE number = 0",
        "UPDATE versions SET forgotten = '[]'",
        "DELETE FROM versions WHERE number = 0",
    ):
        with pytest.raises(Exception, match="never changes"), engine.begin() as connection:
            connection.execute(text(statement))
