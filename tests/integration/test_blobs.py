"""Content-addressed files on a real disk that fails in every way we could arrange."""

import errno
import hashlib
import os
import resource
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import BlobError, LedgerError
from ledger.store.blobs import BlobStore

DATA = b"weights" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def path_of(store: BlobStore, digest: str = DIGEST) -> Path:
    return store.root / digest[:2] / digest[2:]


def replace_content(path: Path, content: bytes) -> None:
    """Change a read-only blob behind the store's back."""
    path.chmod(0o644)
    path.write_bytes(content)


def files(store: BlobStore) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if not path.is_dir())


# -- storing ------------------------------------------------------------------------------------------


def test_what_was_put_can_be_got_by_its_digest(store: BlobStore) -> None:
    assert DIGEST not in store
    assert store.put(DATA) == DIGEST
    assert DIGEST in store
    assert store.get(DIGEST) == DATA
    assert files(store) == [f"{DIGEST[:2]}/{DIGEST[2:]}"]


@pytest.mark.parametrize("data", [b"", b"\x00", os.urandom(3 * 2**20)], ids=["empty", "zero", "3 MiB"])
def test_blobs_of_any_size(store: BlobStore, data: bytes) -> None:
    assert store.get(store.put(data)) == data


def test_a_blob_is_read_only(store: BlobStore) -> None:
    store.put(DATA)
    assert stat.S_IMODE(path_of(store).stat().st_mode) == 0o444


def test_putting_the_same_bytes_again_changes_nothing(store: BlobStore) -> None:
    store.put(DATA)
    before = path_of(store).stat()
    assert store.put(DATA) == DIGEST
    after = path_of(store).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_many_threads_may_put_the_same_bytes_at_once(store: BlobStore) -> None:
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


def test_everything_reaches_the_disk_before_put_returns(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    store.put(DATA)
    # The new subfolder's own entry, then the bytes, then the blob's name.
    assert [name if not name.startswith(".partial-") else "bytes" for name in synced] == ["blobs", "bytes", DIGEST[:2]]


# -- reading what was tampered with -------------------------------------------------------------------


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    with pytest.raises(BlobError, match=f"object {DIGEST} is missing") as caught:
        store.get(DIGEST)
    assert caught.value.exit_code == 5
    assert "backup" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data + b"\x00",
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    ],
    ids=["truncated", "emptied", "extended", "one bit"],
)
def test_altered_bytes_are_never_returned(store: BlobStore, change: Callable[[bytes], bytes]) -> None:
    store.put(DATA)
    replace_content(path_of(store), change(DATA))
    with pytest.raises(BlobError, match="was altered"):
        store.get(DIGEST)


@settings(max_examples=20)  # each writes to a real disk
@given(data=st.binary(max_size=64), other=st.binary(max_size=64))
def test_no_other_bytes_pass_for_a_blob(tmp_path_factory: pytest.TempPathFactory, data: bytes, other: bytes) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    digest = store.put(data)
    replace_content(path_of(store, digest), other)
    if other == data:
        assert store.get(digest) == data
    else:
        with pytest.raises(BlobError):
            store.get(digest)
        # Storing the true bytes heals it.
        assert store.put(data) == digest
        assert store.get(digest) == data
    assert len(files(store)) == 1
    shutil.rmtree(store.root)


@pytest.mark.parametrize("content", [DATA, b"other", None], ids=["same bytes", "other bytes", "dangling"])
def test_a_link_in_a_blobs_place_is_refused_and_put_replaces_it(
    store: BlobStore, tmp_path: Path, content: bytes | None
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if content is not None:
        elsewhere.write_bytes(content)
    path_of(store).parent.mkdir(parents=True)
    path_of(store).symlink_to(elsewhere)
    assert DIGEST not in store
    with pytest.raises(BlobError, match="cannot be read"):
        store.get(DIGEST)
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    assert not path_of(store).is_symlink()
    # What the link pointed at is somebody else's.
    assert (elsewhere.read_bytes() if elsewhere.exists() else None) == content


def test_a_folder_in_a_blobs_place_is_an_error_both_ways(store: BlobStore) -> None:
    path_of(store).mkdir(parents=True)
    assert DIGEST not in store
    with pytest.raises(BlobError, match="cannot be read"):
        store.get(DIGEST)
    with pytest.raises(LedgerError, match="cannot store an object"):
        store.put(DATA)
    assert files(store) == []


@pytest.mark.parametrize(
    "name", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "../" + "a" * 61, "/" * 64, "a" * 63 + "\x00", "é" * 64]
)
def test_only_a_digest_names_a_blob(store: BlobStore, name: str) -> None:
    with pytest.raises(BlobError, match="is not a SHA-256 digest"):
        store.get(name)
    with pytest.raises(BlobError, match="is not a SHA-256 digest"):
        assert name in store


# -- writing that fails -------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to grow any file beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_the_kernel_refuses_leaves_nothing_behind(store: BlobStore) -> None:
    with largest_file(1000), pytest.raises(LedgerError, match=r"cannot store an object.*File too large") as caught:
        store.put(DATA)
    assert caught.value.hint
    assert files(store) == []
    assert store.put(DATA) == DIGEST


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind(store: BlobStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    store.put(b"earlier")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LedgerError, match="no space left") as caught:
            store.put(DATA)
        assert "free some space" in caught.value.hint
    assert files(store) == [str(path_of(store, hashlib.sha256(b"earlier").hexdigest()).relative_to(store.root))]
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA


def test_a_disk_that_returns_other_bytes_is_found_out(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def corrupting(descriptor: int) -> None:
        real(descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.pwrite(descriptor, b"\x00", 5)

    monkeypatch.setattr(os, "fsync", corrupting)
    with pytest.raises(BlobError, match="returned other bytes than were written"):
        store.put(DATA)
    assert files(store) == []


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    # A file where the folder should be stops root too, unlike permissions.
    (tmp_path / "file").write_text("")
    store = BlobStore(tmp_path / "file" / "blobs")
    with pytest.raises(LedgerError, match=r"cannot store an object.*Not a directory"):
        store.put(DATA)
    with pytest.raises(BlobError, match="cannot be read"):
        store.get(DIGEST)
    assert DIGEST not in store


@pytest.mark.skipif(os.getuid() == 0, reason="permissions do not stop root")
def test_a_read_only_folder_is_our_error(store: BlobStore) -> None:
    store.root.mkdir()
    store.root.chmod(0o555)
    with pytest.raises(LedgerError, match=r"cannot store an object.*Permission denied"):
        store.put(DATA)
    store.root.chmod(0o755)
    assert files(store) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_file_system_without_hard_links_will_do(store: BlobStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    assert len(files(store)) == 1


def test_a_link_that_fails_for_another_reason_is_our_error(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_source: Path, _target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", broken)
    with pytest.raises(LedgerError, match="Input/output error"):
        store.put(DATA)
    assert files(store) == []


def test_somebody_may_store_the_same_bytes_between_our_look_and_our_link(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def overtaken(source: Path, target: Path) -> None:
        real(source, target)
        real(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    assert len(files(store)) == 1
