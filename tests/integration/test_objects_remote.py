"""The same promises on every kind of store: a local folder, fsspec's memory, and a local S3 server."""

import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger.config import create_config, find_config
from ledger.errors import LedgerError, ObjectError, UsageError
from ledger.service.ledger import create_ledger
from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck
from ledger.service.upkeep.garbage import collect_garbage
from ledger.store.objects.encryption import CHUNK, stored_size
from ledger.store.objects.object_store import ObjectStore, open_objects
from tests.ledgers.stand_in import register_stand_in

DATA = os.urandom(CHUNK + 1000)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of our own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a prefix in an empty bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"unledger-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/some/prefix"


@dataclass
class Place:
    """A store, and hands that reach behind its back."""

    store: ObjectStore
    root: str

    def path(self, digest: str) -> str:
        return f"{self.root}/{digest[:2]}/{digest[2:]}"

    def read(self, digest: str) -> bytes:
        with fsspec.open(self.path(digest), "rb") as file:
            return bytes(file.read())

    def write(self, digest: str, content: bytes) -> None:
        self.delete(digest)
        with fsspec.open(self.path(digest), "wb") as file:
            file.write(content)

    def delete(self, digest: str) -> None:
        files, path = fsspec.core.url_to_fs(self.path(digest))
        if files.exists(path):
            files.rm(path)


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store of each kind."""
    if request.param == "folder":
        (tmp_path / "objects" / DIGEST[:2]).mkdir(parents=True)
        return Place(ObjectStore(tmp_path / "objects", tmp_path / "keys"), f"file://{tmp_path / 'objects'}")
    url = request.getfixturevalue("s3_url") if request.param == "s3" else f"memory://{uuid.uuid4().hex}"
    return Place(ObjectStore(url, tmp_path / "keys"), url)


def test_what_was_put_can_be_got_by_its_digest(place: Place) -> None:
    assert (DIGEST in place.store, place.store.size(DIGEST), list(place.store.digests())) == (False, None, [])
    assert place.store.put(DATA) == DIGEST
    assert place.store.put(DATA) == DIGEST
    assert place.store.get(DIGEST) == DATA
    assert DIGEST in place.store
    assert place.store.size(DIGEST) == stored_size(len(DATA))
    empty = place.store.put(b"")
    assert place.store.get(empty) == b""
    assert list(place.store.digests()) == sorted([DIGEST, empty]) == list(place.store.keys.digests())


def test_what_lies_there_is_encrypted(place: Place) -> None:
    place.store.put(DATA)
    stored = place.read(DIGEST)
    assert len(stored) == stored_size(len(DATA))
    assert not any(DATA[at : at + 32] in stored for at in range(0, len(DATA) - 32, 997))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda stored: stored[:-1], "truncated"),
        (lambda stored: stored[: CHUNK // 2], "truncated"),
        (lambda stored: stored[:3], "truncated"),
        (lambda stored: stored + b"x", "altered"),
        (lambda stored: stored[:-5] + bytes([stored[-5] ^ 64]) + stored[-4:], "altered"),
        (lambda stored: stored[:16] + bytes(8) + stored[24:], "altered"),
    ],
    ids=["last byte", "half", "beginning", "extended", "bit", "length"],
)
def test_altered_bytes_are_never_returned_and_storing_heals(
    place: Place, change: Callable[[bytes], bytes], fault: str
) -> None:
    place.store.put(DATA)
    place.write(DIGEST, change(place.read(DIGEST)))
    with pytest.raises(ObjectError) as caught:
        place.store.get(DIGEST)
    assert caught.value.fault == fault
    place.store.put(DATA)
    assert place.store.get(DIGEST) == DATA


def test_a_missing_object_and_a_missing_key_are_told_apart(place: Place) -> None:
    place.store.put(DATA)
    place.delete(DIGEST)
    with pytest.raises(ObjectError, match="is missing from") as caught:
        place.store.get(DIGEST)
    assert caught.value.fault == "missing"
    assert DIGEST not in place.store
    place.store.put(DATA)
    place.store.keys.destroy(DIGEST)
    with pytest.raises(ObjectError) as caught:
        place.store.get(DIGEST)
    assert caught.value.fault == "key missing"
    assert DIGEST not in place.store


def test_an_unencrypted_object_stays_readable_until_it_is_stored_again(place: Place) -> None:
    place.write(DIGEST, DATA)
    assert DIGEST in place.store
    assert place.store.get(DIGEST) == DATA
    assert not place.store.is_encrypted(DIGEST)
    place.write(DIGEST, DATA[:-1] + b"?")
    with pytest.raises(ObjectError, match="was altered"):
        place.store.get(DIGEST)
    place.store.put(DATA)
    assert place.store.is_encrypted(DIGEST)


def test_destroying_and_removing(place: Place) -> None:
    kept = place.store.put(b"kept")
    for act in (place.store.destroy, place.store.remove):
        place.store.put(DATA)
        act(DIGEST)
        act(DIGEST)
        assert DIGEST not in place.store
        assert list(place.store.digests()) == [kept] == list(place.store.keys.digests())
    assert place.store.get(kept) == b"kept"


def test_names_of_others_are_left_alone(place: Place) -> None:
    digest = place.store.put(DATA)
    for name in (f"{place.root}/README", f"{place.root}/{digest[:2]}/{digest[2:]}x"):
        with fsspec.open(name, "wb") as file:
            file.write(b"not ours")
    assert list(place.store.digests()) == [digest]


# -- a ledger on it -----------------------------------------------------------------------------------


def test_a_ledger_on_a_bucket_is_checked_and_cleaned_like_any(s3_url: str, tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["init", str(tmp_path / "ledger"), "--store", s3_url])
    assert made.exit_code == 0, made.stderr
    config = find_config(tmp_path / "ledger")
    objects = open_objects(config)
    with fsspec.open(f"{s3_url}/unrelated", "wb") as file:
        file.write(b"somebody else's")
    garbage = objects.put(b"garbage")
    ledger = create_ledger(config, "tester")
    try:
        register_stand_in(ledger, "cars", ("owl", "jay"), DATA, at=ledger.clock())
        report = fsck(ledger, Silent(), read_data=True)
        assert [(f.fault, f.what) for f in report.findings] == [("unreferenced", garbage)]
        assert [g.name for g in collect_garbage(ledger, grace=-60)] == [garbage]
        assert fsck(ledger, Silent(), read_data=True).findings == ()
    finally:
        ledger.close()
    assert not (tmp_path / "ledger" / "objects").exists()
    listed = CliRunner().invoke(app, ["--ledger", str(tmp_path / "ledger"), "doctor", "--json"])
    assert all(item["ok"] for item in json.loads(listed.stdout)["items"])


# -- what cannot be reached ---------------------------------------------------------------------------


def test_a_missing_driver_is_named_with_its_extra(tmp_path: Path) -> None:
    # In a process of its own: fsspec remembers drivers that were loaded once.
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from ledger.cli.main import app\n"
        f"app(['init', {str(tmp_path / 'ledger')!r}, '--store', 's3://bucket/prefix'])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert (made.returncode, (tmp_path / "ledger" / "unledger.toml").exists()) == (2, False)
    assert "the driver of s3:// is not installed" in made.stderr
    assert "unledger[s3]" in made.stderr


def test_an_unknown_protocol_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no object store"):
        ObjectStore("carrier-pigeon://loft", tmp_path / "keys").probe()


def test_a_bucket_that_is_not_there_is_our_error(s3_url: str, tmp_path: Path) -> None:
    store = ObjectStore(s3_url.replace("unledger-", "elsewhere-"), tmp_path / "keys")
    with pytest.raises(LedgerError, match="cannot store an object in s3://elsewhere"):
        store.put(DATA)
    with pytest.raises(ObjectError):
        store.get(DIGEST)


def test_a_store_that_returns_other_bytes_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}", tmp_path / "keys")
    files = fsspec.filesystem("memory")
    real = type(files).pipe_file

    def corrupting(self: Any, path: str, value: bytes, **options: Any) -> None:
        real(self, path, value[:-1] + bytes([value[-1] ^ 1]), **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(files), "pipe_file", corrupting)
        with pytest.raises(ObjectError, match="returned other bytes than were written"):
            store.put(DATA)
    store.put(DATA)
    assert store.get(DIGEST) == DATA


def test_a_store_that_is_not_reached_says_nothing_about_its_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}", tmp_path / "keys")
    store.put(DATA)

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("connection reset")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", broken)
    with pytest.raises(LedgerError, match=r"cannot reach memory://.*: RuntimeError: connection reset") as caught:
        store.get(DIGEST)
    # Nobody shall take it for damage.
    assert not isinstance(caught.value, ObjectError)


def test_a_local_store_does_not_import_fsspec(tmp_path: Path) -> None:
    create_ledger(create_config(tmp_path, "sqlite:///ledger.db", "objects"), "tester").close()
    code = (
        "import sys; from pathlib import Path; from ledger.config import find_config\n"
        "from ledger.store.objects.object_store import open_objects\n"
        f"objects = open_objects(find_config(Path({str(tmp_path)!r}))); objects.get(objects.put(b'x'))\n"
        "assert not {'fsspec', 's3fs', 'torch'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
