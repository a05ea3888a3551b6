"""An older database was put back: nothing is written before a person has seen what would come back."""

from __future__ import annotations

import os
import random
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ledger.domain.states import Action, RequestState
from ledger.errors import OlderDatabaseError
from ledger.service.audit import checkpoints
from ledger.service.audit.checkpoints import is_owed, keep_checkpoint
from ledger.service.audit.state_note import StateNote
from ledger.service.audit.verification import verify_log
from ledger.service.kept_checkpoints import LOST
from ledger.service.progress import Silent
from ledger.service.requests import daemon
from ledger.service.requests.decisions import decide
from ledger.service.requests.worker import work
from ledger.service.signing import own_verifier
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.upkeep.recovery import plan_recovery, recover
from tests.faults.story import Story, forgotten, steady
from tests.ledgers.command_line import Cli

if TYPE_CHECKING:
    from ledger.audit.signed_notes import Verifier
    from tests.ledgers.desk import Desk

MODEL = "digits"


def put_back(desk: Desk, copy: Path, *, keys: bool = False) -> None:
    """Put an older copy of the database, or of everything but the objects, in place of the present one."""
    desk.ledger.close()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (desk.root / name).unlink(missing_ok=True)
    shutil.copy(copy / "ledger.db", desk.root / "ledger.db")
    if keys:
        for name in ("checkpoint", "state"):
            (desk.root / "keys" / name).unlink(missing_ok=True)
            if (copy / "keys" / name).exists():
                shutil.copy(copy / "keys" / name, desk.root / "keys" / name)
    desk.ledger = desk.open_again()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A ledger of models that no network stands behind."""
    return Story(tmp_path / "ledger", random.Random(0))


def set_up(story: Story, setting: str) -> Story:
    story.close()
    with (story.root / "unledger.toml").open("a") as file:
        file.write(f"\n{setting}\n")
    return Story(story.root, story.choice, story.now)


def fulfil(story: Story, *classes: int) -> int:
    number = story.file_for(*classes)
    list(work(story.ledger, Silent(), open_model=steady))
    assert state_of(story, number) is RequestState.FULFILLED
    return number


def state_of(story: Story, number: int) -> RequestState:
    with story.ledger.database.read() as tx:
        return tx.requests.get(number).state


def own(story: Story) -> Verifier:
    verifier = own_verifier(story.ledger.config)
    assert verifier is not None
    return verifier


def copy_database(story: Story, folder: Path) -> Path:
    story.close()
    return Path(shutil.copy(story.database, folder / "copy.db"))


def put_database_back(story: Story, copy: Path) -> Story:
    story.close()
    shutil.copy(copy, story.database)
    return Story(story.root, story.choice, story.now)


def copy_of(desk: Desk, folder: Path) -> Path:
    desk.ledger.close()
    shutil.copytree(desk.root, folder)
    desk.ledger = desk.open_again()
    return folder


def test_every_change_of_what_is_forgotten_signs_a_checkpoint(two_forgotten: Desk) -> None:
    def signed() -> bool:
        found = verify_log(two_forgotten.ledger)
        return found.signed == found.head.size

    assert signed()
    two_forgotten.withdraw(2)
    assert signed()
    two_forgotten.file(3)
    assert signed()
    two_forgotten.roll_back(0)
    assert signed()
    two_forgotten.file(5)
    assert not signed()


def test_a_place_out_of_reach_fails_nothing_and_is_tried_again(
    story: Story, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, place = tmp_path / "file", tmp_path / "file" / "below"
    blocked.write_text("")
    story = set_up(story, f'checkpoint_to = "{place}"')
    first = fulfil(story, 5)
    assert "is not in" in caplog.text
    assert "it is written there with the next one" in caplog.text
    # Not at once: whoever waits for a place that does not answer waits long.
    caplog.clear()
    fulfil(story, 4)
    assert caplog.text == ""
    assert not is_owed(story.ledger)
    story.ledger.elsewhere_again = 0
    assert is_owed(story.ledger)
    blocked.unlink()
    assert keep_checkpoint(story.ledger)
    assert not is_owed(story.ledger)
    # What was missed meanwhile is told of as well.
    [state] = [StateNote.open(path.read_text(), own(story)) for path in place.glob("*.state")]
    assert {note.number for note in state.requests} == {first, first + 1}
    assert len(list(place.glob("*.checkpoint"))) == 1


def test_a_daemon_signs_daily_and_tries_a_place_again(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = set_up(story, f'checkpoint_to = "{tmp_path / "place"}"')
    story.ledger.elsewhere_again = float("inf")
    fulfil(story, 5)
    story.file_for(4)
    signed, clock = verify_log(story.ledger).signed, [0.0]
    monkeypatch.setattr(daemon, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    daily = daemon.Daily(story.ledger)
    daily.checkpoint()
    assert verify_log(story.ledger).signed == signed + 1
    story.file_for(3)
    clock[0] = 86_000.0
    daily.checkpoint()
    assert verify_log(story.ledger).signed == signed + 1
    # The place is in reach again.
    story.ledger.elsewhere_again = 0
    daily.checkpoint()
    assert [path.suffix for path in sorted((tmp_path / "place").iterdir())] == [".checkpoint", ".state"]
    story.file_for(2)
    clock[0] = 200_000.0
    daily.checkpoint()
    assert verify_log(story.ledger).signed == signed + 3


def test_recovering_files_again_what_was_lost(two_forgotten: Desk, tmp_path: Path) -> None:
    copy = copy_of(two_forgotten, tmp_path / "copy")
    due = two_forgotten.request(two_forgotten.forget(5).request_id or 0).due_at
    two_forgotten.later(3)
    put_back(two_forgotten, copy)
    with pytest.raises(OlderDatabaseError):
        two_forgotten.file(8)
    plan = plan_recovery(two_forgotten.ledger)
    assert plan.returning == ((MODEL, ("5",)),)
    assert [note.number for note in plan.filed_again] == [3]
    [filed] = recover(two_forgotten.ledger, plan, "the disk is gone").filed
    assert (filed.classes, filed.state, filed.due_at) == (frozenset({5}), RequestState.QUEUED, due)
    [event] = two_forgotten.events("ledger.recovered")
    assert plan.lost is not None
    assert event.data == {
        "size": plan.size,
        "lost": plan.lost.checkpoint.size,
        "root": plan.lost.checkpoint.root.hex(),
    }
    [(name, note)] = plan.lost.notes
    assert (two_forgotten.root / "keys" / f"{LOST}{name}").read_text() == note
    [done] = two_forgotten.work()
    assert done.request.id == filed.id
    assert two_forgotten.live().forgotten == {3, 5, 7}
    assert plan_recovery(two_forgotten.ledger).lost is None


def test_recovering_queues_a_request_again_that_had_stopped(two_forgotten: Desk, tmp_path: Path) -> None:
    two_forgotten.roll_back(1)
    copy = copy_of(two_forgotten, tmp_path / "copy")
    two_forgotten.retry(2)
    put_back(two_forgotten, copy)
    plan = plan_recovery(two_forgotten.ledger)
    assert (plan.queued_again, plan.filed_again) == ((2,), ())
    recover(two_forgotten.ledger, plan, "")
    assert two_forgotten.state(2) is RequestState.QUEUED


def test_a_whole_folder_that_was_put_back_is_noticed_where_checkpoints_are_kept(
    two_forgotten: Desk, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    with (two_forgotten.root / "unledger.toml").open("a") as file:
        file.write(f'\ncheckpoint_to = "{kept}"\n')
    two_forgotten.ledger = two_forgotten.open_again()
    copy = copy_of(two_forgotten, tmp_path / "copy")
    two_forgotten.forget(5)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert {path.suffix for path in kept.iterdir()} == {".checkpoint", ".state"}
    put_back(two_forgotten, copy, keys=True)
    with pytest.raises(OlderDatabaseError):
        two_forgotten.file(8)
    command = Cli(two_forgotten.root)
    shown = command.json("recover", "--dry-run")
    assert [one["classes"] for one in shown["returning"]] == [["5"]]
    assert command.json("recover", "--yes")["filed_again"] == [3]
    # The lost checkpoints stay where they are, and are known to be given up.
    assert {name: (kept / name).read_bytes() for name in before} == before
    two_forgotten.ledger = two_forgotten.open_again()
    [done] = two_forgotten.work()
    assert done.error is None
    two_forgotten.ledger = two_forgotten.open_again()
    assert two_forgotten.file(5).no_op
    assert two_forgotten.live().forgotten == {3, 5, 7}
    # The line that goes on is watched as before.
    put_back(two_forgotten, copy, keys=True)
    with pytest.raises(OlderDatabaseError):
        two_forgotten.file(9)


def test_what_was_given_up_since_is_put_on_hold(story: Story, tmp_path: Path) -> None:
    waiting = story.file_for(1)
    copy = copy_database(story, tmp_path)
    decide(story.ledger, waiting, Action.CANCEL, "mind changed")
    fulfil(story, 5)
    story = put_database_back(story, copy)
    plan = plan_recovery(story.ledger)
    assert (plan.held, plan.queued_again) == ((waiting,), ())
    recover(story.ledger, plan, "")
    assert state_of(story, waiting) is RequestState.ON_HOLD
    list(work(story.ledger, Silent(), open_model=steady))
    assert forgotten(story.ledger)["cars"] == {5}


@pytest.mark.parametrize("held", [Action.HOLD, None])
def test_what_waited_for_a_person_goes_on_as_it_went_on(story: Story, tmp_path: Path, held: Action | None) -> None:
    waiting = story.file_for(1, approval=held is None)
    if held is not None:
        decide(story.ledger, waiting, held, "")
    copy = copy_database(story, tmp_path)
    decide(story.ledger, waiting, Action.APPROVE if held is None else Action.RELEASE, "")
    list(work(story.ledger, Silent(), open_model=steady))
    story = put_database_back(story, copy)
    plan = plan_recovery(story.ledger)
    assert plan.queued_again == (waiting,)
    recover(story.ledger, plan, "")
    list(work(story.ledger, Silent(), open_model=steady))
    assert forgotten(story.ledger)["cars"] == {1}


def test_classes_come_back_to_the_queue_though_no_note_names_their_requests(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "REACH", 1)
    copy = copy_database(story, tmp_path)
    fulfil(story, 5)
    story.file_for(1)
    fulfil(story, 3)
    story = put_database_back(story, copy)
    plan = plan_recovery(story.ledger)
    assert plan.lost is not None
    assert plan.lost.since > plan.size
    [one] = plan.unnamed
    assert one.classes | {1, 3} == {1, 3, 5}
    recover(story.ledger, plan, "")
    list(work(story.ledger, Silent(), open_model=steady))
    assert forgotten(story.ledger)["cars"] == {1, 3, 5}


def test_what_cannot_be_filed_again_is_told(story: Story, tmp_path: Path) -> None:
    story.file_for(1, 2)
    copy = copy_database(story, tmp_path)
    decide(story.ledger, 1, Action.DENY, "")
    fulfil(story, 3, 4, 5)
    story = put_database_back(story, copy)
    shown = Cli(story.root).json("recover", "--yes")
    assert (shown["filed_again"], shown["held"]) == ([], [1])
    assert [(one["number"], one["model"]) for one in shown["refused"]] == [(2, "cars")]
    assert "would retain" in shown["refused"][0]["why"]


def test_weights_that_were_purged_since_are_told(story: Story, tmp_path: Path) -> None:
    fulfil(story, 1)
    copy = copy_database(story, tmp_path)
    fulfil(story, 3)
    purge(
        story.ledger,
        plan_purge(story.ledger, "cars", timedelta(0)),
        timedelta(0),
        Silent(),
        clock_is_right=True,
    )
    story = put_database_back(story, copy)
    assert plan_recovery(story.ledger).lost_weights == ("cars",)
    told = Cli(story.root)("recover", "--dry-run").err
    assert "weights of cars were purged since" in told
    # Commands can be pasted: they name the ledger that they are about.
    assert f"go on with this one: unledger -L {story.root} recover" in told
    assert f"next: unledger -L {story.root} work" in Cli(story.root)("recover", "--yes").err


def test_an_altered_state_note_tells_nothing(story: Story, tmp_path: Path) -> None:
    copy = copy_database(story, tmp_path)
    fulfil(story, 5)
    state = story.root / "keys" / "state"
    state.write_text(state.read_text().replace('"forgotten":[5]', '"forgotten":[4]'))
    story = put_database_back(story, copy)
    plan = plan_recovery(story.ledger)
    assert plan.lost is not None
    assert (plan.lost.states, plan.returning) == ((), ())
    assert "no note of what was forgotten" in Cli(story.root)("recover", "--dry-run").err


@pytest.mark.parametrize(("content", "code"), [(b"x" * 200_000, 5), (b"\xff\xfe", 5), (b"", 5), (None, 1)])
def test_a_remembered_checkpoint_that_is_none_is_refused(story: Story, content: bytes | None, code: int) -> None:
    remembered = story.root / "keys" / "checkpoint"
    fulfil(story, 5)
    remembered.unlink()
    if content is None:
        os.mkfifo(remembered)
    else:
        remembered.write_bytes(content)
    answer = Cli(story.root)("rollback", "cars", "--to", "0", "--yes", code=code)
    assert str(remembered) in answer.err.replace("\n", "")


def test_every_command_that_acts_is_refused_before_it_asks(story: Story, tmp_path: Path) -> None:
    fulfil(story, 1)
    copy = copy_database(story, tmp_path)
    fulfil(story, 5)
    story = put_database_back(story, copy)
    command = Cli(story.root)
    for line in (
        "forget cars -c 2", "work --drain", f"model export cars -o {tmp_path}/out", "gc", "purge cars --older-than 0",
        "rollback cars --to 0", "rollback cars --to 7", "certificate issue 1", "certificate issue 2",
        "audit checkpoint", "request withdraw 1", "request deny 1", f"backup {tmp_path}/backup", "model rebind cars",
    ):  # fmt: skip
        said = command(*line.split(), code=5).err
        assert "are missing, that is everything since" in said, line
        assert said.rstrip().endswith("recover"), line
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "backup").exists()
    assert "warning: this database is older" in command("status").err
