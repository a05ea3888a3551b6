"""Files and folders appear whole or not at all, whatever fails."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ledger.durable_files import Existing, is_vacant, write_file, write_folder


def names(folder: Path) -> list[str]:
    """Return the names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Let the disk be full from one call of a function of ``os`` on."""
    real, calls = getattr(os, name), iter(range(1000))

    def full(*arguments: Any, **options: Any) -> Any:
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, full)


@pytest.mark.parametrize("existing", Existing)
def test_a_new_file_has_the_permissions_that_the_umask_allows(tmp_path: Path, existing: Existing) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "file", [b"con", b"tent"], existing=existing)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("place", ["file", "link to nothing", "folder"])
def test_what_is_there_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link to nothing").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError):
        write_file(tmp_path / place, [b"new"])
    assert (tmp_path / "file").read_text() == "old"
    assert len(names(tmp_path)) == 3


def test_somebody_who_was_faster_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, real = tmp_path / "file", os.fsync

    def meanwhile(descriptor: int) -> None:
        real(descriptor)
        target.write_text("theirs")

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(FileExistsError):
        write_file(target, [b"ours"])
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["file"]


def test_without_hard_links_a_file_is_refused_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"

    def none(source: Path, _target: Path) -> None:
        if source.read_bytes() == b"late":
            target.write_text("theirs")
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    write_file(tmp_path / "other", [b"first"])
    assert (tmp_path / "other").read_bytes() == b"first"
    with pytest.raises(FileExistsError):
        write_file(target, [b"late"])
    assert target.read_text() == "theirs"


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o604)
    write_file(tmp_path / "file", [b"new"], existing=Existing.REPLACE)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604


def test_what_passes_the_check_is_kept_and_what_fails_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "bad").write_bytes(b"bad")
    kept = (tmp_path / "good").stat().st_ino
    for name in ("good", "bad"):
        write_file(tmp_path / name, [b"good"], existing=Existing.KEEP, check=lambda file: file.read() == b"good")
        assert (tmp_path / name).read_bytes() == b"good"
    assert (tmp_path / "good").stat().st_ino == kept


@pytest.mark.parametrize("vacant", [False, True])
def test_a_folder_appears_with_all_its_files(tmp_path: Path, *, vacant: bool) -> None:
    target = tmp_path / "above" / "folder"
    if vacant:
        target.mkdir(parents=True, mode=0o750)
        (target / ".partial-0123").mkdir()
    write_folder(target, {"one": b"1", "two": b"2"})
    assert [name for name in names(target) if not name.startswith(".")] == ["one", "two"]
    assert (target / "two").read_bytes() == b"2"
    assert names(target.parent) == ["folder"]
    assert not vacant or stat.S_IMODE(target.stat().st_mode) == 0o750


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        write_folder(tmp_path, {"one": b"1"})
    assert names(tmp_path) == ["mine"]


@pytest.mark.parametrize("vacant", [False, True])
@pytest.mark.parametrize(("name", "call"), [("fsync", 1), ("fsync", 2), ("rename", 0), ("rename", 1)])
def test_a_full_disk_leaves_nothing_and_the_next_attempt_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, *, vacant: bool
) -> None:
    target = tmp_path / "folder"
    if vacant:
        target.mkdir()
    with monkeypatch.context() as patch:
        fail_at(patch, name, call)
        if (name, call, vacant) == ("rename", 1, False):
            # One rename is enough where there was no folder.
            write_folder(tmp_path / "other", {"one": b"1", "two": b"2"})
            return
        with pytest.raises(OSError, match="No space left"):
            write_folder(target, {"one": b"1", "two": b"2"})
    assert target.is_dir() == vacant
    assert not vacant or is_vacant(target)
    assert list(tmp_path.rglob(".partial*")) == []
    write_folder(target, {"one": b"1", "two": b"2"})
    assert names(target) == ["one", "two"]
