"""Encrypted, content-addressed files on a real disk that fails in every way we could arrange."""

import errno
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import LedgerError, ObjectError
from ledger.store.objects.encryption import CHUNK, HEADER, TAG, stored_size
from ledger.store.objects.local_folder import LocalFolder
from ledger.store.objects.object_store import ObjectStore
from tests.faults.full_disk import largest_file

DATA = b"weights" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "blobs", tmp_path / "keys")


def root(store: ObjectStore) -> Path:
    assert isinstance(store.folder, LocalFolder)
    return store.folder.root


def path_of(store: ObjectStore, digest: str = DIGEST) -> Path:
    return root(store) / digest[:2] / digest[2:]


def key_of(store: ObjectStore, digest: str = DIGEST) -> Path:
    return store.keys.folder / digest


def replace_content(path: Path, content: bytes) -> None:
    """Change a read-only object behind the store's back."""
    path.chmod(0o644)
    path.write_bytes(content)


def files(store: ObjectStore) -> list[str]:
    return sorted(str(path.relative_to(root(store))) for path in root(store).rglob("*") if not path.is_dir())


def keys(store: ObjectStore) -> list[str]:
    return sorted(path.name for path in store.keys.folder.iterdir()) if store.keys.folder.exists() else []


# -- storing ------------------------------------------------------------------------------------------


def test_what_was_put_can_be_got_by_its_digest(store: ObjectStore) -> None:
    assert DIGEST not in store
    assert store.put(DATA) == DIGEST
    assert DIGEST in store
    assert store.get(DIGEST) == DATA
    assert files(store) == [f"{DIGEST[:2]}/{DIGEST[2:]}"]


@pytest.mark.parametrize("data", [b"", b"\x00", os.urandom(3 * 2**20)], ids=["empty", "zero", "3 MiB"])
def test_objects_of_any_size(store: ObjectStore, data: bytes) -> None:
    assert store.get(store.put(data)) == data


def test_an_object_is_read_only(store: ObjectStore) -> None:
    store.put(DATA)
    assert stat.S_IMODE(path_of(store).stat().st_mode) == 0o444


def test_putting_the_same_bytes_again_changes_nothing(store: ObjectStore) -> None:
    store.put(DATA)
    before = path_of(store).stat()
    assert store.put(DATA) == DIGEST
    after = path_of(store).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_many_threads_may_put_the_same_bytes_at_once(store: ObjectStore) -> None:
    start, answers = threading.Barrier(6), []

    def put() -> None:
        start.wait()
        answers.append(store.put(DATA))

    threads = [threading.Thread(target=put) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [DIGEST] * 6
    assert files(store) == [f"{DIGEST[:2]}/{DIGEST[2:]}"]
    assert store.get(DIGEST) == DATA


def test_everything_reaches_the_disk_before_put_returns(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    store.put(DATA)
    parent = root(store).parent.name
    # Each new folder's own entry; the key before the object; each one's bytes before its name.
    assert [name if not name.startswith(".partial-") else "bytes" for name in synced] == [
        *(parent, "bytes", "keys"),
        *(parent, "blobs", "bytes", DIGEST[:2]),
    ]


# -- encrypted ----------------------------------------------------------------------------------------


def test_neither_bytes_nor_key_of_an_object_lie_open(store: ObjectStore) -> None:
    store.put(DATA)
    stored = path_of(store).read_bytes()
    assert len(stored) == stored_size(len(DATA)) == store.size(DIGEST)
    assert b"weights" not in stored
    assert store.is_encrypted(DIGEST)
    key = key_of(store).read_bytes()
    assert (len(key), key[:16] in stored) == (64, False)
    assert stat.S_IMODE(key_of(store).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.keys.folder.stat().st_mode) == 0o700


def test_every_object_has_a_key_of_its_own(store: ObjectStore, tmp_path: Path) -> None:
    first, second = store.put(b"a"), store.put(b"b")
    assert key_of(store, first).read_bytes()[:32] != key_of(store, second).read_bytes()[:32]
    elsewhere = ObjectStore(tmp_path / "elsewhere", tmp_path / "other keys")
    assert elsewhere.put(b"a") == first
    assert path_of(elsewhere, first).read_bytes() != path_of(store, first).read_bytes()


def test_without_its_key_an_object_is_nothing(store: ObjectStore) -> None:
    store.put(DATA)
    key_of(store).unlink()
    assert DIGEST not in store
    with pytest.raises(ObjectError, match=r"the key .* is missing") as caught:
        store.get(DIGEST)
    assert caught.value.fault == "key missing"
    # Storing the same bytes again makes a new key, under which they are stored.
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA


@pytest.mark.parametrize("damage", [lambda key: key[:-1], lambda key: b"", lambda key: key[:5] + b"\x00" + key[6:]])
def test_a_damaged_key_is_told_from_a_damaged_object(store: ObjectStore, damage: Callable[[bytes], bytes]) -> None:
    store.put(DATA)
    key_of(store).write_bytes(damage(key_of(store).read_bytes().replace(b"\x00", b"\x01")))
    with pytest.raises(ObjectError, match=r"the key .* is damaged") as caught:
        store.get(DIGEST)
    assert caught.value.fault == "key damaged"
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA


# -- from before there were keys ----------------------------------------------------------------------


@pytest.fixture
def unencrypted(store: ObjectStore) -> ObjectStore:
    """A store that holds an object as the first release wrote it."""
    path_of(store).parent.mkdir(parents=True)
    path_of(store).write_bytes(DATA)
    path_of(store).chmod(0o444)
    return store


def test_an_unencrypted_object_stays_readable(unencrypted: ObjectStore) -> None:
    assert DIGEST in unencrypted
    assert unencrypted.get(DIGEST) == DATA
    assert not unencrypted.is_encrypted(DIGEST)
    assert keys(unencrypted) == []


def test_storing_an_unencrypted_object_again_encrypts_it(unencrypted: ObjectStore) -> None:
    assert unencrypted.put(DATA) == DIGEST
    assert unencrypted.is_encrypted(DIGEST)
    assert unencrypted.get(DIGEST) == DATA
    assert DATA not in path_of(unencrypted).read_bytes()


def test_an_unencrypted_object_can_be_read_although_a_key_was_made_for_it(unencrypted: ObjectStore) -> None:
    # As a crash leaves it between the key and the encrypted object.
    unencrypted.keys.obtain(DIGEST)
    assert unencrypted.get(DIGEST) == DATA


def test_an_altered_unencrypted_object_is_refused(unencrypted: ObjectStore) -> None:
    replace_content(path_of(unencrypted), DATA[:-1] + b"x")
    with pytest.raises(ObjectError, match="was altered: its bytes hash to"):
        unencrypted.get(DIGEST)


def test_bytes_that_look_encrypted_are_stored_like_any_others(store: ObjectStore) -> None:
    stored = path_of(store, store.put(b"inner")).read_bytes()
    assert store.get(store.put(stored)) == stored


# -- destroying ---------------------------------------------------------------------------------------


def test_a_destroyed_object_is_gone_and_may_be_destroyed_again(store: ObjectStore) -> None:
    kept = store.put(b"kept")
    store.put(DATA)
    for _ in range(2):
        store.destroy(DIGEST)
        assert DIGEST not in store
        assert (keys(store), list(store.digests())) == ([kept], [kept])
    assert store.get(kept) == b"kept"
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA


def test_the_key_goes_first_and_its_bytes_before_its_name(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(DATA)
    key, held = key_of(store).read_bytes(), key_of(store).open("rb")
    calls: list[str] = []
    fsync, unlink = os.fsync, Path.unlink

    def synced(descriptor: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def unlinked(path: Path, **options: bool) -> None:
        calls.append(f"unlink {path.name}")
        unlink(path, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "unlink", unlinked)
    store.destroy(DIGEST)
    assert calls == [
        *(f"sync {DIGEST}", f"unlink {DIGEST}", "sync keys"),
        *(f"unlink {DIGEST[2:]}", f"sync {DIGEST[:2]}"),
    ]
    # The file that had the name holds the key no more.
    with held:
        left = held.read()
    assert len(left) == len(key)
    assert not set(zip(*[iter(key)] * 8, strict=True)) & set(zip(*[iter(left)] * 8, strict=True))


@pytest.mark.parametrize("survived", range(5))
def test_destroying_goes_on_after_a_crash_at_any_step(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    store.put(DATA)
    left = survived

    def mortal(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", mortal(os.fsync))
        patch.setattr(Path, "unlink", mortal(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            store.destroy(DIGEST)
    if survived:
        with pytest.raises(ObjectError):
            store.get(DIGEST)
    store.destroy(DIGEST)
    assert (keys(store), list(store.digests())) == ([], [])


def test_destroying_an_unencrypted_object_overwrites_it(unencrypted: ObjectStore) -> None:
    with path_of(unencrypted).open("rb") as held:
        unencrypted.destroy(DIGEST)
        assert b"weights" not in held.read()
    assert list(unencrypted.digests()) == []


def test_removing_takes_object_and_key(store: ObjectStore) -> None:
    kept = store.put(b"kept")
    store.put(DATA)
    store.remove(DIGEST)
    store.remove(DIGEST)
    assert (keys(store), list(store.digests())) == ([kept], [kept])


def test_what_is_there_is_listed(store: ObjectStore) -> None:
    assert list(store.digests()) == []
    digests = sorted(store.put(bytes([n])) for n in range(20))
    (root(store) / "README").write_text("not ours")
    (root(store) / "aa").mkdir(exist_ok=True)
    (root(store) / "aa" / "short").write_text("not ours either")
    assert list(store.digests()) == digests
    assert list(store.keys.digests()) == digests


# -- reading what was tampered with -------------------------------------------------------------------


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    with pytest.raises(ObjectError, match=f"object {DIGEST} is missing") as caught:
        store.get(DIGEST)
    assert caught.value.exit_code == 5
    assert "backup" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda stored: stored[:-1], "truncated"),
        (lambda stored: stored[:20], "truncated"),
        (lambda stored: b"", "truncated"),
        (lambda stored: stored + b"\x00", "altered"),
        (lambda stored: stored[:100] + bytes([stored[100] ^ 1]) + stored[101:], "altered"),
        (lambda stored: bytes([stored[0] ^ 1]) + stored[1:], "altered"),
        (lambda stored: stored[:24] + stored[-16:] + stored[24:-16], "altered"),
    ],
    ids=["truncated", "mere header", "emptied", "extended", "one bit", "magic", "moved tag"],
)
def test_altered_bytes_are_never_returned(store: ObjectStore, change: Callable[[bytes], bytes], fault: str) -> None:
    store.put(DATA)
    replace_content(path_of(store), change(path_of(store).read_bytes()))
    with pytest.raises(ObjectError, match=f"was {fault}") as caught:
        store.get(DIGEST)
    assert caught.value.fault == fault
    assert caught.value.hint


def test_an_object_in_anothers_place_is_refused(store: ObjectStore) -> None:
    other = store.put(b"other")
    store.put(DATA)
    replace_content(path_of(store), path_of(store, other).read_bytes())
    with pytest.raises(ObjectError, match="was altered"):
        store.get(DIGEST)
    # Nor with the other's key.
    key_of(store).write_bytes(key_of(store, other).read_bytes())
    with pytest.raises(ObjectError, match=r"key .* is damaged") as caught:
        store.get(DIGEST)
    assert caught.value.fault == "key damaged"


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_chunks_cannot_be_dropped_or_swapped(store: ObjectStore, blocks: int) -> None:
    data = os.urandom(3 * CHUNK + 5)
    digest = store.put(data)
    stored, size = path_of(store, digest).read_bytes(), CHUNK + TAG
    header, chunks = stored[:HEADER], [stored[i : i + size] for i in range(HEADER, len(stored), size)]
    assert len(chunks) == 4
    shorter = header[:16] + (len(data) - CHUNK).to_bytes(8, "big")
    for forged in (
        shorter + b"".join(chunks[:blocks] + chunks[blocks + 1 :]),
        header + b"".join(chunks[blocks:] + chunks[:blocks]),
        header + b"".join([chunks[blocks - 1], *chunks[1:]][:4]) if blocks > 1 else header + b"".join(chunks[::-1]),
    ):
        replace_content(path_of(store, digest), forged)
        with pytest.raises(ObjectError):
            store.get(digest)
    replace_content(path_of(store, digest), stored)
    assert store.get(digest) == data


@settings(max_examples=20)  # each writes to a real disk
@given(data=st.binary(max_size=64), other=st.binary(max_size=64))
def test_no_other_bytes_pass_for_an_object(tmp_path_factory: pytest.TempPathFactory, data: bytes, other: bytes) -> None:
    folder = tmp_path_factory.mktemp("blobs")
    store = ObjectStore(folder / "objects", folder / "keys")
    digest = store.put(data)
    replace_content(path_of(store, digest), other)
    if other == data:
        # As an earlier release would have stored it.
        assert store.get(digest) == data
    else:
        with pytest.raises(ObjectError):
            store.get(digest)
        # Storing the true bytes heals it.
        assert store.put(data) == digest
        assert store.get(digest) == data
    assert len(files(store)) == 1
    shutil.rmtree(folder)


@pytest.mark.parametrize("content", [DATA, b"other", None], ids=["same bytes", "other bytes", "dangling"])
def test_a_link_in_an_objects_place_is_refused_and_put_replaces_it(
    store: ObjectStore, tmp_path: Path, content: bytes | None
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if content is not None:
        elsewhere.write_bytes(content)
    path_of(store).parent.mkdir(parents=True)
    path_of(store).symlink_to(elsewhere)
    assert DIGEST not in store
    with pytest.raises(ObjectError, match="cannot be read"):
        store.get(DIGEST)
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    assert not path_of(store).is_symlink()
    # What the link pointed at is somebody else's.
    assert (elsewhere.read_bytes() if elsewhere.exists() else None) == content


def test_a_folder_in_an_objects_place_is_an_error_both_ways(store: ObjectStore) -> None:
    path_of(store).mkdir(parents=True)
    assert DIGEST not in store
    with pytest.raises(ObjectError, match="cannot be read"):
        store.get(DIGEST)
    with pytest.raises(LedgerError, match="cannot store an object"):
        store.put(DATA)
    assert files(store) == []


@pytest.mark.parametrize(
    "name", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "../" + "a" * 61, "/" * 64, "a" * 63 + "\x00", "é" * 64]
)
def test_only_a_digest_names_an_object(store: ObjectStore, name: str) -> None:
    with pytest.raises(ObjectError, match="is not a SHA-256 digest"):
        store.get(name)
    with pytest.raises(ObjectError, match="is not a SHA-256 digest"):
        assert name in store


# -- writing that fails -------------------------------------------------------------------------------


def test_a_write_that_the_kernel_refuses_leaves_nothing_behind(store: ObjectStore) -> None:
    with largest_file(1000), pytest.raises(LedgerError, match=r"cannot store an object.*File too large") as caught:
        store.put(DATA)
    assert caught.value.hint
    assert files(store) == []
    assert store.put(DATA) == DIGEST


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    store.put(b"earlier")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LedgerError, match="no space left") as caught:
            store.put(DATA)
        assert "free some space" in caught.value.hint
    assert files(store) == [str(path_of(store, hashlib.sha256(b"earlier").hexdigest()).relative_to(root(store)))]
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA


def test_a_disk_that_returns_other_bytes_is_found_out(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def corrupting(descriptor: int) -> None:
        real(descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.pwrite(descriptor, b"\x00", 5)

    monkeypatch.setattr(os, "fsync", corrupting)
    with pytest.raises(ObjectError, match="returned other bytes than were written"):
        store.put(DATA)
    assert files(store) == []


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    # A file where the folder should be stops root too, unlike permissions.
    (tmp_path / "file").write_text("")
    store = ObjectStore(tmp_path / "file" / "blobs", tmp_path / "keys")
    with pytest.raises(LedgerError, match=r"cannot store an object.*Not a directory"):
        store.put(DATA)
    with pytest.raises(ObjectError, match="cannot be read"):
        store.get(DIGEST)
    assert DIGEST not in store


@pytest.mark.skipif(os.getuid() == 0, reason="permissions do not stop root")
def test_a_read_only_folder_is_our_error(store: ObjectStore) -> None:
    root(store).mkdir()
    root(store).chmod(0o555)
    with pytest.raises(LedgerError, match=r"cannot store an object.*Permission denied"):
        store.put(DATA)
    root(store).chmod(0o755)
    assert files(store) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_file_system_without_hard_links_will_do(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    assert len(files(store)) == 1


def test_a_link_that_fails_for_another_reason_is_our_error(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_source: Path, _target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", broken)
    with pytest.raises(LedgerError, match="Input/output error"):
        store.put(DATA)
    assert files(store) == []


def test_somebody_may_store_the_same_bytes_between_our_look_and_our_link(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def overtaken(source: Path, target: Path) -> None:
        real(source, target)
        real(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    assert len(files(store)) == 1
