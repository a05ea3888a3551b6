"""In which order things reach the disk, read from a trace: objects, the commit that refers to them, signatures."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.lifetime import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.strace

ROOT = Path(__file__).parents[2]
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink",
         "unlinkat", "ftruncate", "mkdir", "mkdirat")  # fmt: skip
DATABASE, JOURNAL = "ledger.db", "ledger.db-journal"
SAME = b"the same bytes"
TWICE = f"""
import hashlib, sys
from pathlib import Path
from ledger.store.objects.object_store import ObjectStore
root, SAME = Path(sys.argv[1]), {SAME!r}
for _ in range(2):
    ObjectStore(root / "objects", root / "keys").put(SAME)
for _ in range(2):
    ObjectStore(root / "objects", root / "keys").destroy(hashlib.sha256(SAME).hexdigest())
"""


@dataclass(frozen=True)
class Call:
    """A call on files below the root, by their names from there."""

    name: str
    files: tuple[str, ...]

    @property
    def kind(self) -> str:
        """What it does, whichever variant of the call does it."""
        return {"pwrite64": "write", "fdatasync": "fsync"}.get(
            self.name, self.name.removesuffix("at").removesuffix("at2")
        )


def traced(strace: str, root: Path, *command: str) -> list[Call]:
    """Run a command and return its calls on files under a folder, in order, and what it says of its steps."""
    log = root.parent / "trace"
    options = ["-f", "-y", "-o", str(log), "-e", "signal=none", "-e", "trace=" + ",".join(f"?{call}" for call in CALLS)]
    subprocess.run([strace, *options, sys.executable, *command], check=True, capture_output=True, cwd=ROOT)
    names = re.compile(rf'[<"]{re.escape(str(root))}/?([^>"]*)[>"]')
    calls = []
    for line in log.read_text().splitlines():
        said = re.match(r"\d+\s+(\w+)\((.*)", line)
        if said is not None and (files := names.findall(said[2])):
            assert "unfinished" not in line
            calls.append(Call(said[1], tuple(files)))
        elif said is not None and (step := re.search(r'"step (\d+)', said[2])):
            calls.append(Call("step", (step[1],)))
    return calls


@pytest.fixture(scope="module")
def story(strace: str, tmp_path_factory: pytest.TempPathFactory) -> list[list[Call]]:
    """The calls of each step of the story."""
    root = tmp_path_factory.mktemp("story") / "ledger"
    root.mkdir()
    steps: list[list[Call]] = []
    for call in traced(strace, root, "-m", "tests.faults.lifetime", str(root)):
        if call.name == "step":
            steps.append([])
        else:
            steps[-1].append(call)
    assert len(steps) == len(STEPS)
    return steps


@pytest.fixture
def calls_of(story: list[list[Call]]) -> Callable[[str], list[Call]]:
    """Return the calls of the first step of a name."""
    return lambda name: story[[step.name for step in STEPS].index(name)]


def at(calls: list[Call], kind: str, file: str, after: int = -1) -> int:
    """Return where the first such call is after a place."""
    return next(i for i, call in enumerate(calls) if i > after and call.kind == kind and file in call.files)


def commits(calls: list[Call]) -> list[int]:
    """Return where transactions are committed: where the journal is cut to nothing."""
    return [i for i, call in enumerate(calls) if call.kind == "ftruncate" and call.files == (JOURNAL,)]


def linked(calls: list[Call], folder: str) -> list[tuple[int, str, str]]:
    """Return where files got their names in a folder: place, temporary name, name."""
    return [
        (i, call.files[-2], call.files[-1])
        for i, call in enumerate(calls)
        if call.kind == "link" and call.files[-1].startswith(folder)
    ]


def test_a_commit_is_flushed_at_each_of_its_stages(calls_of: Callable[[str], list[Call]]) -> None:
    calls = calls_of("forget from the anchor")
    begin = -1
    assert len(commits(calls)) >= 5
    for end in commits(calls):
        transaction = calls[begin + 1 : end + 2]
        written = at(transaction, "write", DATABASE)
        # What the pages were is safe before one of them changes, and the pages before the journal goes.
        assert at(transaction, "fsync", JOURNAL) < written
        last = max(i for i, call in enumerate(transaction) if call == Call("pwrite64", (DATABASE,)))
        assert at(transaction, "fsync", DATABASE, last) < at(transaction, "ftruncate", JOURNAL)
        # The journal's end is flushed too: without that, power loss could bring it back and undo the commit.
        assert transaction[-1].kind == "fsync"
        assert transaction[-1].files == (JOURNAL,)
        begin = end + 1


def test_an_object_is_durable_before_a_row_refers_to_it(calls_of: Callable[[str], list[Call]]) -> None:
    calls = calls_of("forget from the anchor")
    objects, keys = linked(calls, "objects/"), linked(calls, "keys/objects/")
    # A class space and the weights, each with a key.
    assert len(objects) == len(keys) == 2
    for (place, temporary, name), (key_place, key_temporary, key_name) in zip(objects, keys, strict=True):
        assert key_name.removeprefix("keys/objects/") == name.removeprefix("objects/").replace("/", "")
        for draft, named, folder in (
            (key_temporary, key_place, "keys/objects"),
            (temporary, place, str(Path(name).parent)),
        ):
            last_write = max(i for i, call in enumerate(calls) if call.kind == "write" and call.files == (draft,))
            assert last_write < at(calls, "fsync", draft, last_write) < named < at(calls, "fsync", folder, named)
        durable = at(calls, "fsync", str(Path(name).parent), place)
        assert at(calls, "fsync", "keys/objects", key_place) < place
        # From the key's first byte until the object's name is durable, the database is left alone: the commit before
        # took the lease, the commit after refers to the object.
        begun = at(calls, "write", key_temporary)
        assert not [call for call in calls[begun:durable] if {DATABASE, JOURNAL} & set(call.files)]
        assert any(commit < begun for commit in commits(calls))
        assert any(commit > durable for commit in commits(calls))


def test_a_signature_is_written_after_the_commit(calls_of: Callable[[str], list[Call]]) -> None:
    calls = calls_of("checkpoint")
    [renamed] = [i for i, call in enumerate(calls) if call.kind == "rename" and call.files[-1] == "keys/checkpoint"]
    draft = calls[renamed].files[0]
    first_write = at(calls, "write", draft)
    assert commits(calls)
    assert commits(calls)[-1] < at(calls, "fsync", JOURNAL, commits(calls)[-1]) < first_write
    assert first_write < at(calls, "fsync", draft, first_write) < renamed < at(calls, "fsync", "keys", renamed)


def test_a_purge_is_promised_then_done_then_noted(calls_of: Callable[[str], list[Call]]) -> None:
    calls = calls_of("purge")
    gone = [call.files[0] for call in calls if call.kind == "unlink" and call.files[0].startswith("objects/")]
    assert len(gone) >= 8
    done = commits(calls)
    for name in gone:
        key = "keys/objects/" + name.removeprefix("objects/").replace("/", "")
        overwritten = at(calls, "write", key)
        order = [
            at(calls, "fsync", key, overwritten),
            at(calls, "unlink", key),
            at(calls, "fsync", "keys/objects", at(calls, "unlink", key)),
            at(calls, "unlink", name),
            at(calls, "fsync", str(Path(name).parent), at(calls, "unlink", name)),
        ]
        assert [overwritten, *order] == sorted([overwritten, *order])
        assert done[0] < overwritten
        assert any(commit > order[-1] for commit in done)


def test_what_somebody_else_left_half_done_is_made_durable(strace: str, tmp_path: Path) -> None:
    """Whoever wrote or removed a file may have died before its folder was flushed; nobody can see that."""
    root = tmp_path / "store"
    root.mkdir()
    digest = hashlib.sha256(SAME).hexdigest()
    calls = traced(strace, root, "-c", TWICE, str(root))
    folder = f"objects/{digest[:2]}"
    # The second time, nothing is written or removed, and every name is flushed all the same.
    stored = max(i for i, call in enumerate(calls) if call.kind in ("link", "rename"))
    removed = [i for i, call in enumerate(calls) if call.kind == "unlink" and call.files[0].endswith(digest[2:])]
    flushed = [
        call.files[0] for call in calls[at(calls, "fsync", folder, stored) + 1 : removed[0]] if call.kind == "fsync"
    ]
    assert flushed[:3] == ["keys", folder, "objects"]
    assert len(removed) == 4
    assert at(calls, "fsync", "keys", removed[2]) < at(calls, "fsync", folder, removed[3])
