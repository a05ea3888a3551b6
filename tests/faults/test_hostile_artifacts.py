"""Hostile files, given as weights and put into the store: nothing runs, the error is ours, time and memory are bounded.

All are tried in one child process with limits of its own; run by itself, this file is that child.
"""

import hashlib
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ledger.networks.network import Network
from ledger.store.objects.encryption import MAGIC, stored_size
from ledger.store.objects.object_store import ObjectStore
from ledger.weights import tensor_files
from tests.faults.bounded import Outcome, attempt, memory, outcomes_of_child
from tests.faults.hostile_artifacts import CANARY, TIB, Maker, contents, good, sparse, specials

MOST_SECONDS = 1.0
"""Of processor time: other processes shall not decide."""
MOST_GROWTH = 64 * 2**20
"""Bytes that resident memory may grow by."""
MOST_ADDRESSES = 512 * 2**20
"""Bytes of addresses that may be added: what is allocated but not touched counts too."""


# -- the child ----------------------------------------------------------------------------------------


def ways(folder: Path, canary: str) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yield each artifact with each way in; what it makes on disk is made when it is asked for."""
    network = Network.of(torch.nn.Linear(3, 2), {})

    def register(path: Path) -> None:
        network.load(tensor_files.parse(tensor_files.read_file(path), str(path)), str(path))

    def serve(store: ObjectStore, digest: str) -> None:
        network.load(tensor_files.parse(store.get(digest), digest), digest)

    place = folder / "weights.safetensors"
    place.write_bytes(tensor_files.serialise(good()))
    # What all the others differ from is taken.
    register(place)
    for number, (name, content) in enumerate(contents(canary)):
        path = folder / f"{number}{Path(name).suffix}"
        path.write_bytes(content)
        yield name, "weights", lambda path=path: register(path)  # type: ignore[misc]
        store = ObjectStore(folder / "objects", folder / "keys")
        # Under their own digest the bytes are what they say, and not encrypted: reading them as tensors must fail.
        own = hashlib.sha256(content).hexdigest()
        _put(store, own, path)
        yield name, "object", lambda store=store, own=own: serve(store, own)  # type: ignore[misc]
        path.unlink()
    for number, (name, make) in enumerate(specials(canary)):
        path = make(folder / f"special{number}")
        yield name, "weights", lambda path=path: register(path)  # type: ignore[misc]
    yield from _objects(folder, canary, serve)


def _put(store: ObjectStore, digest: str, source: Path) -> Path:
    target = _path(store, digest)
    target.write_bytes(source.read_bytes())
    return target


def _path(store: ObjectStore, digest: str) -> Path:
    path = Path(str(store.folder)) / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


Serve = Callable[[ObjectStore, str], None]
ANNOUNCED = (
    ("no bytes at all", 0, 24),
    ("half a header", 0, 20),
    ("2^64 - 1 announced", 2**64 - 1, 100),
    ("2^63 announced", 2**63, 100),
    ("a TiB announced", TIB, 100),
    ("a TiB announced and there", TIB, stored_size(TIB)),
    ("chunk without a tag", 100, 24 + 100),
    ("forged chunk", 100, stored_size(100)),
)
"""Encrypted objects that are none: plain bytes announced, and bytes of the file."""
KEYS = (("empty", b""), ("short", b"k" * 63), ("64 MiB", bytes(64 * 2**20)), ("text", b"secret\n" * 9))
NAMES = (
    "../" * 20 + "etc/passwd",
    "/etc/passwd",
    "",
    "\uff11" * 64,
    "A" * 64,
    "a" * 63 + "\x00",
    "a" * 64 + "/..",
    "a" * 1_000_000,
)


def _objects(folder: Path, canary: str, serve: Serve) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yield forged objects and keys: what only the store can meet."""
    forged: list[tuple[str, str, Maker]] = []
    for name, make in specials(canary):
        forged += [(name, way, make) for way in ("object", "key") if "TiB" not in name]
    for name, length, size in ANNOUNCED:
        forged.append((name, "object", sparse(MAGIC + length.to_bytes(8, "big"), size)))
    forged += [(name, "key", sparse(content, len(content))) for name, content in KEYS]
    for number, (name, way, make) in enumerate(forged):
        store = ObjectStore(folder / f"objects{number}", folder / f"keys{number}")
        digest = store.put(tensor_files.serialise(good()))
        path = store.keys.folder / digest if way == "key" else _path(store, digest)
        path.unlink()
        make(path)
        yield name, way, lambda store=store, digest=digest: serve(store, digest)  # type: ignore[misc]
    store = ObjectStore(folder / "objects", folder / "keys")
    for name in NAMES:
        yield repr(name[:30]), "digest", lambda name=name: serve(store, name)  # type: ignore[misc]


def main(folder: Path) -> None:
    """Try everything and print what came of it, one JSON object a line."""
    torch.set_num_threads(1)
    canary = str(folder / CANARY)
    everything = ways(folder, canary)
    # The first loads libraries, which is not what is measured.
    name, way, call = next(everything)
    attempt(f"{way}: {name}", call)
    addresses = memory("VmSize") + MOST_ADDRESSES
    for name, way, call in everything:
        # Only around the attempt: making artifacts may take what it likes.
        resource.setrlimit(resource.RLIMIT_AS, (addresses, resource.RLIM_INFINITY))
        result = attempt(f"{way}: {name}", call)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(result.to_line(), flush=True)  # noqa: T201


# -- the tests ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    """What came of every artifact."""
    folder = tmp_path_factory.mktemp("hostile")
    return folder, outcomes_of_child(Path(__file__), folder, seconds=600)


def way(outcome: Outcome) -> str:
    """Return which way in it was."""
    return outcome.name.partition(":")[0]


def test_there_are_enough_of_them(attempts: tuple[Path, list[Outcome]]) -> None:
    assert len({attempt.name for attempt in attempts[1]}) >= 200
    assert {way(attempt) for attempt in attempts[1]} == {"weights", "object", "key", "digest"}


def test_nothing_was_executed_or_written(attempts: tuple[Path, list[Outcome]]) -> None:
    folder, _ = attempts
    assert not any(CANARY in name for _, _, names in os.walk(folder.parent) for name in names)
    assert not (folder.parent.parent / CANARY).exists()


def test_every_error_is_ours(attempts: tuple[Path, list[Outcome]]) -> None:
    assert [a for a in attempts[1] if not a.ours] == []
    wrong = {"key": {"ObjectError"}, "digest": {"ObjectError"}}
    assert [a for a in attempts[1] if way(a) in wrong and a.error not in wrong[way(a)]] == []
    # A message fits a terminal: no hostile name is repeated at length.
    assert [a for a in attempts[1] if not a.message or "\x1b" in a.message] == []


def test_time_and_memory_are_bounded(attempts: tuple[Path, list[Outcome]]) -> None:
    assert [a for a in attempts[1] if a.seconds > MOST_SECONDS] == []
    assert [a for a in attempts[1] if a.growth > MOST_GROWTH] == []


def test_the_bombs_are_live(tmp_path: Path) -> None:
    """Unpickled, the first artifact does leave its trace; otherwise the tests above would prove nothing."""
    import pickle

    name, content = next(contents(str(tmp_path / CANARY)))
    assert name.startswith("pickle")
    pickle.loads(content)
    assert (tmp_path / CANARY).exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
