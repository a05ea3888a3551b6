"""What a check of a whole ledger finds: each damage is named, and exactly the affected versions are set apart."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger.errors import IntegrityError
from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck
from ledger.service.versions.export import export
from ledger.service.versions.rollback import plan_rollback
from ledger.store.objects.encryption import HEADER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger.service.upkeep.fsck import Finding, FsckResult
    from tests.ledgers.shelf import Shelf


FLIPS = int(os.environ.get("UNLEDGER_TEST_FLIPS", "20"))
"""Bits flipped one after another; more on demand."""


def check(shelf: Shelf, *, read: bool = True, model: str | None = None) -> FsckResult:
    return fsck(shelf.ledger, Silent(), model_name=model, read_data=read)


def only(report: FsckResult) -> Finding:
    [finding] = report.findings
    return finding


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def flip(path: Path, offset: int, bit: int = 0) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


# -- nothing wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [False, True])
def test_a_whole_ledger_is_found_whole_and_left_alone(shelf: Shelf, *, read: bool) -> None:
    before = shelf.size()
    report = check(shelf, read=read)
    assert (report.findings, report.sound, report.objects) == ((), True, 4)
    assert (report.quarantined, report.released) == ((), ())
    assert shelf.size() == before


# -- stored objects -----------------------------------------------------------------------------------

DAMAGE: dict[str, Callable[[Shelf, str], None]] = {
    "missing": lambda shelf, digest: shelf.path(digest).unlink(),
    "truncated": lambda shelf, digest: shelf.cut(digest, 30),
    "altered": lambda shelf, digest: flip(shelf.path(digest), HEADER + 3),
    "key missing": lambda shelf, digest: shelf.key(digest).unlink(),
    "key damaged": lambda shelf, digest: flip(shelf.key(digest), 40, 7),
}


@pytest.mark.parametrize("fault", DAMAGE)
def test_damaged_weights_are_named_and_exactly_their_versions_set_apart(shelf: Shelf, fault: str) -> None:
    # Versions 0 and 2 have the same weights.
    digest = shelf.weights[0]
    DAMAGE[fault](shelf, digest)
    report = check(shelf)
    found = only(report)
    assert (found.fault, found.what, found.severe) == (fault, digest, True)
    assert found.used_by == ("shelf:0", "shelf:2")
    assert report.quarantined == ("shelf:0", "shelf:2")
    assert {n for n, v in enumerate(shelf.versions()) if v.quarantined} == {0, 2}
    assert digest in (shelf.versions()[0].quarantined or "")
    assert [event.data["version"] for event in shelf.events("version.quarantined")] == [0, 2]
    assert {event.data["fault"] for event in shelf.events("version.quarantined")} == {fault}
    # Checked again, nothing new is written.
    before = shelf.size()
    assert check(shelf).quarantined == ()
    assert shelf.size() == before


@pytest.mark.parametrize("fault", ["missing", "truncated", "key missing", "key damaged"])
def test_all_but_flipped_bits_are_found_without_reading(shelf: Shelf, fault: str) -> None:
    DAMAGE[fault](shelf, shelf.weights[1])
    report = check(shelf, read=False)
    assert (only(report).fault, report.quarantined) == (fault, ("shelf:1",))


def test_flipped_bits_take_reading(shelf: Shelf) -> None:
    DAMAGE["altered"](shelf, shelf.weights[1])
    assert check(shelf, read=False).findings == ()
    assert check(shelf, read=True).quarantined == ("shelf:1",)


@pytest.mark.parametrize("fault", DAMAGE)
def test_a_damaged_class_space_is_named_and_sets_nothing_apart(shelf: Shelf, fault: str) -> None:
    DAMAGE[fault](shelf, shelf.space)
    report = check(shelf)
    found = only(report)
    assert (found.fault, found.what, found.used_by) == (fault, shelf.space, ("class space of dog (shelf)",))
    assert (report.sound, report.quarantined) == (False, ())


def test_a_repaired_version_is_released(shelf: Shelf) -> None:
    digest = shelf.weights[1]
    kept = shelf.path(digest).read_bytes()
    shelf.cut(digest, 10)
    check(shelf)
    shelf.path(digest).write_bytes(kept)
    # Even without being told to read everything: a quarantined version's objects are read.
    report = check(shelf, read=False)
    assert (report.findings, report.released) == ((), ("shelf:1",))
    assert shelf.versions()[1].quarantined is None
    assert [event.data for event in shelf.events("version.released")] == [{"version": 1, "weights": digest}]


def test_storing_the_same_weights_again_repairs_too(shelf: Shelf) -> None:
    digest = shelf.weights[1]
    data = shelf.ledger.objects.get(digest)
    shelf.path(digest).unlink()
    shelf.key(digest).unlink()
    check(shelf)
    shelf.ledger.objects.put(data)
    assert check(shelf).released == ("shelf:1",)


def test_another_fault_of_a_quarantined_version_is_noted(shelf: Shelf) -> None:
    shelf.cut(shelf.weights[1], 10)
    check(shelf)
    shelf.path(shelf.weights[1]).unlink()
    assert check(shelf).quarantined == ("shelf:1",)
    assert "is missing" in (shelf.versions()[1].quarantined or "")


def test_a_quarantined_version_is_not_handed_out(shelf: Shelf, tmp_path: Path) -> None:
    # Whole again, but not checked since: whoever repaired it may have repaired something else.
    kept = shelf.path(shelf.weights[1]).read_bytes()
    shelf.cut(shelf.weights[1], 10)
    check(shelf)
    shelf.path(shelf.weights[1]).write_bytes(kept)
    with pytest.raises(IntegrityError, match="version 1 of shelf is quarantined") as caught:
        export(shelf.ledger, "shelf", 1, tmp_path / "out")
    assert "unledger fsck" in caught.value.hint
    with pytest.raises(IntegrityError, match="quarantined"):
        plan_rollback(shelf.ledger, "shelf", 1)
    assert not (tmp_path / "out").exists()
    check(shelf)
    export(shelf.ledger, "shelf", 1, tmp_path / "out")


def test_one_model_can_be_checked_alone(shelf: Shelf) -> None:
    other = shelf.add_model("other")
    shelf.cut(other, 10)
    shelf.ledger.objects.put(b"garbage")
    assert check(shelf, model="shelf").findings == ()
    assert only(check(shelf, model="other")).used_by == ("other:0",)


def test_whatever_bit_flips_exactly_what_it_hits_is_named(shelf: Shelf) -> None:
    whole = {path: path.read_bytes() for folder in ("objects", "keys/objects") for path in files(shelf.root / folder)}
    hit = random.Random(0)
    for path in hit.choices(sorted(whole), k=FLIPS):
        flip(path, hit.randrange(len(whole[path])), hit.randrange(8))
        report = check(shelf)
        digest = path.name if path.parent.name == "objects" else path.parent.name + path.name
        assert (only(report).what, report.sound) == (digest, False)
        affected = {n for n, weights in enumerate(shelf.weights) if weights == digest}
        assert {n for n, version in enumerate(shelf.versions()) if version.quarantined} == affected
        path.write_bytes(whole[path])
        assert len(check(shelf).released) == len(affected)


# -- what nothing needs, or should not be there -------------------------------------------------------


def test_garbage_is_a_warning(shelf: Shelf) -> None:
    garbage = shelf.ledger.objects.put(b"garbage")
    orphan = "ab" * 32
    shelf.ledger.objects.keys.obtain(orphan)
    temporary = shelf.path(garbage).with_name(".partial-1")
    temporary.write_bytes(b"half")
    report = check(shelf)
    assert {(f.fault, f.what, f.severe) for f in report.findings} == {
        ("unreferenced", garbage, False),
        ("key without object", orphan, False),
        ("temporary", str(temporary), False),
    }
    assert report.sound


def test_what_somebody_is_about_to_refer_to_is_no_garbage(shelf: Shelf) -> None:
    with shelf.ledger.database.write() as tx:
        tx.leases.take(shelf.ledger.objects.put(b"soon"))
    assert check(shelf).findings == ()


def test_an_unencrypted_object_is_a_warning(shelf: Shelf) -> None:
    digest = shelf.weights[1]
    data = shelf.ledger.objects.get(digest)
    shelf.key(digest).unlink()
    shelf.path(digest).unlink()
    shelf.path(digest).write_bytes(data)
    for read in (False, True):
        report = check(shelf, read=read)
        assert (only(report).fault, only(report).used_by, report.sound) == ("unencrypted", ("shelf:1",), True)
    shelf.cut(digest, 50)
    assert only(check(shelf, read=False)).fault == only(check(shelf)).fault == "truncated"
    shelf.path(digest).write_bytes(data)
    flip(shelf.path(digest), 50)
    assert (only(check(shelf)).fault, shelf.versions()[1].quarantined is None) == ("altered", False)


def test_a_destroyed_object_that_something_needs_is_dangling(shelf: Shelf) -> None:
    shelf.note_destroyed(shelf.weights[1])
    shelf.ledger.objects.destroy(shelf.weights[1])
    report = check(shelf)
    assert (only(report).fault, report.quarantined) == ("dangling", ("shelf:1",))


def test_a_destroyed_object_that_is_back_is_an_error(shelf: Shelf) -> None:
    shelf.note_purged(1)
    shelf.note_destroyed(shelf.weights[1])
    found = only(check(shelf))
    assert (found.fault, found.what, found.severe) == ("not destroyed", shelf.weights[1], True)
    shelf.ledger.objects.destroy(shelf.weights[1])
    assert check(shelf).findings == ()


def test_a_wrong_size_in_the_rows_is_no_damage_of_the_object(shelf: Shelf) -> None:
    shelf.execute(f"UPDATE blobs SET size = size + 1 WHERE digest = '{shelf.weights[1]}'")
    for read in (False, True):
        report = check(shelf, read=read)
        assert [f.fault for f in report.findings] == ["altered", "other size"]
        assert f"blobs {shelf.weights[1]}: size" in report.findings[0].detail
        assert (report.sound, report.quarantined) == (False, ())


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_is_no_object(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    path = shelf.path(shelf.weights[1])
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    report = check(shelf)
    assert (only(report).fault, report.quarantined) == ("unreadable", ("shelf:1",))


# -- history and database -----------------------------------------------------------------------------


def test_an_altered_history_is_named(shelf: Shelf) -> None:
    shelf.forge_history()
    found = only(check(shelf))
    assert (found.fault, found.what) == ("altered", "history")
    assert "entry 2" in found.detail


def test_a_damaged_database_file_is_named(shelf: Shelf) -> None:
    if shelf.file is None:
        pytest.skip("only SQLite can be asked")
    with closing(sqlite3.connect(shelf.file)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        named = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_blobs_1'"
        (page,) = connection.execute(named).fetchone()
    data = shelf.file.read_bytes()
    # One bit of a digest, in the index alone.
    offset = data.index(shelf.space.encode(), (page - 1) * size, page * size)
    flip(shelf.file, offset + 60)
    # Opened again: a connection believes the pages that it remembers.
    shelf.ledger = shelf.open_again()
    report = check(shelf)
    assert ("damaged", "database") in {(f.fault, f.what) for f in report.findings}
    assert not report.sound


def test_a_row_that_refers_to_nothing_is_named(shelf: Shelf) -> None:
    if shelf.file is None:
        pytest.skip("PostgreSQL enforces references always")
    with closing(sqlite3.connect(shelf.file)) as connection:
        connection.execute("DELETE FROM blobs WHERE digest = ?", (shelf.weights[1],))
        connection.commit()
    report = check(shelf)
    assert {f.fault for f in report.findings} == {"damaged", "dangling", "altered"}
    assert report.quarantined == ("shelf:1",)


# -- the command --------------------------------------------------------------------------------------


def test_the_command_says_what_is_wrong_and_exits_with_5(shelf: Shelf) -> None:
    call = ["--ledger", str(shelf.root), "--actor", "tester", "fsck", "--read-data"]
    clean = CliRunner().invoke(app, call)
    assert clean.exit_code == 0
    assert "fsck ok: 4 objects read" in clean.stderr
    shelf.ledger.objects.put(b"garbage")
    warned = CliRunner().invoke(app, call)
    assert (warned.exit_code, "unreferenced" in warned.stdout) == (0, True)
    shelf.cut(shelf.weights[1], 10)
    bad = CliRunner().invoke(app, [*call, "--json"])
    assert bad.exit_code == 5
    document = json.loads(bad.stdout)
    assert (document["schema"], document["ok"], document["quarantined"]) == ("unledger.fsck/1", False, ["shelf:1"])
    assert {finding["fault"] for finding in document["findings"]} == {"truncated", "unreferenced"}
    assert "version shelf:1 is handed out no more" in bad.stderr
    assert "backup" in bad.stderr
