"""Nothing is written with the keys of another ledger, or to a database that is older than what was signed."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.requests import NewRequest
from ledger.domain.states import Action
from ledger.errors import AccessError, LedgerError, OlderDatabaseError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.evidence.certificates import issue
from ledger.service.evidence.evaluation import evaluate
from ledger.service.progress import Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.status import status
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.service.signing import FILE
from ledger.service.upkeep.fsck import fsck
from ledger.service.upkeep.garbage import collect_garbage
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.versions.export import export
from ledger.service.versions.rollback import plan_rollback, roll_back
from ledger.store.objects import object_keys
from tests.ledgers.command_line import Cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ledgers.desk import Desk

MODEL = "digits"


def acts(desk: Desk, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return everything that a person can do to a ledger, by name."""
    ledger = desk.ledger
    return {
        "forget": lambda: enqueue(ledger, MODEL, [NewRequest(frozenset({8}), "tester")]),
        "work": lambda: list(work(ledger, Silent())),
        "export": lambda: export(ledger, MODEL, None, folder / "out"),
        "gc": lambda: collect_garbage(ledger, grace=-1),
        "purge": lambda: purge(ledger, plan_purge(ledger, MODEL, timedelta(0)), timedelta(0), Silent()),
        "rollback": lambda: roll_back(ledger, plan_rollback(ledger, MODEL, 0), "no"),
        "withdraw": lambda: withdraw(ledger, 1, "", Silent()),
        "decide": lambda: decide(ledger, 2, Action.RETRY, ""),
        "evaluate": lambda: evaluate(ledger, MODEL, None, Silent(), only=["accuracy"], train_per_class=1),
        "certificate": lambda: issue(ledger, 1),
        "checkpoint": lambda: issue_checkpoint(ledger),
        "register": lambda: desk.register("another"),
    }


NAMES = (
    *("forget", "work", "export", "gc", "purge", "rollback", "withdraw", "decide"),
    *("evaluate", "certificate", "checkpoint", "register"),
)


def older(desk: Desk) -> None:
    """Put back a database of before the last request, beside the newer keys and objects."""
    desk.ledger.close()
    shutil.copy(desk.root / "ledger.db", desk.root / "kept.db")
    desk.ledger = desk.open_again()
    desk.forget(5)
    issue_checkpoint(desk.ledger)
    desk.ledger.close()
    shutil.move(desk.root / "kept.db", desk.root / "ledger.db")
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (desk.root / name).unlink(missing_ok=True)
    desk.ledger = desk.open_again()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("act", NAMES)
def test_an_older_database_is_refused_by_everything_that_writes(two_forgotten: Desk, tmp_path: Path, act: str) -> None:
    older(two_forgotten)
    kept = files_of(two_forgotten.root / "objects") | files_of(two_forgotten.root / "keys")
    with pytest.raises(OlderDatabaseError, match="are missing, that is everything since") as caught:
        acts(two_forgotten, tmp_path)[act]()
    assert caught.value.exit_code == 5
    assert "unledger recover" in caught.value.hint
    assert files_of(two_forgotten.root / "objects") | files_of(two_forgotten.root / "keys") == kept
    assert not (tmp_path / "out").exists()


def test_who_only_reads_an_older_database_is_warned(two_forgotten: Desk) -> None:
    older(two_forgotten)
    assert isinstance(two_forgotten.ledger.problem(), OlderDatabaseError)
    status(two_forgotten.ledger)
    answer = Cli(two_forgotten.root)("status")
    assert "warning: this database is older than its newest checkpoint" in answer.err
    refused = Cli(two_forgotten.root)("work", "--drain", code=5)
    assert refused.err.count("older than its newest") == 1


@pytest.mark.parametrize("keys", ["empty", "missing", "another", "no signing key"])
@pytest.mark.parametrize("act", NAMES)
def test_keys_of_another_ledger_are_refused_by_everything_that_writes(
    two_forgotten: Desk, open_desk: Callable[[Path], Desk], tmp_path: Path, act: str, keys: str
) -> None:
    folder = two_forgotten.root / "keys"
    key = (folder / FILE).read_bytes()
    if keys == "no signing key":
        (folder / FILE).unlink()
    else:
        folder.rename(tmp_path / "right")
        if keys == "empty":
            folder.mkdir()
        elif keys == "another":
            folder.mkdir()
            text = type(two_forgotten).create(tmp_path / "other", two_forgotten.digits).root / "keys" / FILE
            shutil.copy(text, folder / FILE)
    assert key
    before = two_forgotten.everything()
    with pytest.raises(LedgerError) as caught:
        acts(two_forgotten, tmp_path)[act]()
    # Whatever needs an object first finds its key missing: that is integrity, too.
    assert caught.value.exit_code == 5
    assert two_forgotten.everything() == before
    assert (folder / FILE).exists() is (keys == "another")


def test_fsck_sets_nothing_apart_because_the_keys_are_not_here(two_forgotten: Desk, tmp_path: Path) -> None:
    (two_forgotten.root / "keys").rename(tmp_path / "right")
    result = fsck(two_forgotten.ledger, Silent(), read_data=True)
    assert result.quarantined == ()
    assert {finding.fault for finding in result.findings if finding.severe} == {"wrong keys"}
    assert two_forgotten.live().quarantined is None
    (tmp_path / "right").rename(two_forgotten.root / "keys")
    assert fsck(two_forgotten.ledger, Silent(), read_data=True).sound


def test_fsck_tells_a_key_that_it_may_not_read_from_a_damaged_one(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(object_keys, "open_regular", forbidden)
    answer = Cli(two_forgotten.root)("fsck", "--read-data", code=1)
    assert "quarantined" not in answer.err
    assert two_forgotten.live().quarantined is None
    result = fsck(two_forgotten.ledger, Silent(), read_data=True)
    # What the network answered cannot be compared without its weights, which says nothing about the answers.
    assert {finding.fault for finding in result.findings if finding.severe} == {"no access"}
    live = next(finding for finding in result.findings if finding.what == two_forgotten.live().weights)
    assert str(two_forgotten.root / "keys" / "objects" / live.what) in live.detail
    # Nor is a key that cannot be read replaced by a new one.
    with pytest.raises(AccessError):
        two_forgotten.ledger.objects.keys.obtain(live.what)


def test_checkpoints_are_kept_in_a_second_place_as_well(two_forgotten: Desk, tmp_path: Path) -> None:
    desk = two_forgotten
    settings = desk.root / "unledger.toml"
    settings.write_text(f'{settings.read_text()}checkpoint_to = "{tmp_path / "elsewhere"}"\n')
    older(desk)
    remembered = desk.root / "keys" / "checkpoint"
    assert [path.read_text() for path in (tmp_path / "elsewhere").glob("*.checkpoint")] == [remembered.read_text()]
    # Even where the one beside the key is lost with the newer database.
    remembered.unlink()
    with pytest.raises(OlderDatabaseError, match="are missing"):
        desk.file(8)
