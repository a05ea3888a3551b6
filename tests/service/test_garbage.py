"""Garbage collection: what nothing refers to goes, what anybody needs or will need stays."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger.digest import sha256_hex
from ledger.errors import RetryLaterError
from ledger.service.objects import store_object
from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck
from ledger.service.upkeep.garbage import collect_garbage
from ledger.service.upkeep.purge import destroy_promised
from ledger.service.versions.recording import append_renewed_class_space

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.shelf import Shelf

SOON = sha256_hex(b"soon")


def refer(shelf: Shelf, digest: str) -> None:
    with shelf.ledger.database.write() as tx:
        tx.objects.add(digest, 4, "weights", at=shelf.now)


def test_only_what_nothing_refers_to_goes(shelf: Shelf) -> None:
    garbage = shelf.ledger.objects.put(b"garbage")
    shelf.ledger.objects.keys.obtain("ab" * 32)
    half = [folder / ".partial-1" for folder in (shelf.path(garbage).parent, shelf.key(garbage).parent)]
    for path in half:
        path.write_bytes(b"half")
    before = set(shelf.ledger.objects.digests())
    found = collect_garbage(shelf.ledger, grace=-60, dry_run=True)
    assert set(shelf.ledger.objects.digests()) == before
    assert sorted((g.kind, g.name) for g in found) == sorted(
        [("object", garbage), ("key", "ab" * 32), *(("temporary", str(path)) for path in half)]
    )
    assert collect_garbage(shelf.ledger, grace=-60) == found
    assert set(shelf.ledger.objects.digests()) == before - {garbage} == set(shelf.ledger.objects.keys.digests())
    assert not any(path.exists() for path in half)
    assert collect_garbage(shelf.ledger, grace=-60) == []
    assert fsck(shelf.ledger, Silent(), read_data=True).findings == ()


def test_what_was_written_lately_stays(shelf: Shelf) -> None:
    garbage = shelf.ledger.objects.put(b"garbage")
    assert collect_garbage(shelf.ledger) == []
    long_ago = time.time() - 7200
    os.utime(shelf.path(garbage), (long_ago, long_ago))
    assert [g.name for g in collect_garbage(shelf.ledger)] == [garbage]


def test_the_key_of_a_lost_object_that_something_needs_stays(shelf: Shelf) -> None:
    kept = shelf.path(shelf.weights[1]).read_bytes()
    shelf.path(shelf.weights[1]).unlink()
    assert collect_garbage(shelf.ledger, grace=-60) == []
    shelf.path(shelf.weights[1]).write_bytes(kept)
    assert fsck(shelf.ledger, Silent(), read_data=True).findings == ()


def test_a_second_name_of_a_key_goes_without_harm_to_the_key(shelf: Shelf) -> None:
    # As a crash leaves it between giving a key its name and taking the temporary one away.
    key = shelf.key(shelf.weights[1])
    key.with_name(".partial-x").hardlink_to(key)
    assert [g.kind for g in collect_garbage(shelf.ledger, grace=-60)] == ["temporary"]
    assert fsck(shelf.ledger, Silent(), read_data=True).findings == ()


def test_a_class_space_that_was_collected_to_other_bytes_leaves_the_old_ones_to_go(shelf: Shelf) -> None:
    with shelf.ledger.database.read() as tx:
        [old, other] = tx.class_spaces.all(tx.models.get("shelf"))
    shelf.cut(old.object_digest, 30)
    digest = store_object(shelf.ledger, b"others")
    with shelf.ledger.database.write() as tx:
        model = tx.models.get("shelf")
        collected = replace(old, object_digest=digest, size=6, samples_digest="f" * 64)
        renewed = append_renewed_class_space(tx, model, collected, actor="tester")
        assert (renewed.id, renewed.object_digest, renewed.size, renewed.samples_digest) == (
            old.id,
            digest,
            6,
            "f" * 64,
        )
        # One that was not damaged after all stays as it is.
        assert tx.class_spaces.renew(other) == other
    assert [f.fault for f in fsck(shelf.ledger, Silent()).findings] == ["not destroyed"]
    assert [g.name for g in collect_garbage(shelf.ledger, grace=-60)] == [old.object_digest]
    assert fsck(shelf.ledger, Silent(), read_data=True).findings == ()


# -- leases -------------------------------------------------------------------------------------------


def test_a_lease_protects_an_object_until_it_is_referred_to(shelf: Shelf) -> None:
    assert store_object(shelf.ledger, b"soon") == SOON
    other = shelf.open_again()
    assert collect_garbage(other, grace=-60) == []
    refer(shelf, SOON)
    with shelf.ledger.database.read() as tx:
        assert tx.leases.live() == frozenset()
    assert collect_garbage(other, grace=-60) == []
    assert shelf.ledger.objects.get(SOON) == b"soon"


def test_a_purge_spares_what_somebody_is_about_to_refer_to_again(shelf: Shelf) -> None:
    digest, other = shelf.weights[1], shelf.open_again()
    data = shelf.ledger.objects.get(digest)
    shelf.note_purged(1)
    # Somebody computed the same weights once more, and has not committed them yet.
    store_object(other, data)
    assert destroy_promised(shelf.ledger, Silent()) == []
    assert shelf.ledger.objects.get(digest) == data
    with other.database.write() as tx:
        tx.leases.give_back([digest])
    assert destroy_promised(shelf.ledger, Silent()) == [digest]
    assert digest not in shelf.ledger.objects
    assert fsck(shelf.ledger, Silent(), read_data=True).findings == ()


def test_one_holder_does_not_end_anothers_lease(shelf: Shelf) -> None:
    other = shelf.open_again()
    for ledger in (shelf.ledger, other):
        store_object(ledger, b"soon")
    refer(shelf, SOON)
    with shelf.ledger.database.read() as tx:
        assert tx.leases.live() == {SOON}


def test_taking_a_lease_again_prolongs_it(shelf: Shelf) -> None:
    with shelf.ledger.database.write() as tx:
        tx.leases.take(SOON, ttl=-1)
        assert tx.leases.live() == frozenset()
        tx.leases.take(SOON)
        assert tx.leases.live() == {SOON}


def test_an_object_whose_lease_ran_out_is_garbage_and_cannot_be_referred_to_unseen(shelf: Shelf) -> None:
    digest = shelf.ledger.objects.put(b"soon")
    with shelf.ledger.database.write() as tx:
        tx.leases.take(digest, ttl=-1)
    assert [g.name for g in collect_garbage(shelf.ledger, grace=-60)] == [digest]
    with pytest.raises(RetryLaterError, match="ran out"):
        refer(shelf, digest)
    # Doing it all again succeeds.
    store_object(shelf.ledger, b"soon")
    refer(shelf, digest)
    assert shelf.ledger.objects.get(digest) == b"soon"


def test_leases_that_ran_out_long_ago_are_forgotten(shelf: Shelf) -> None:
    with shelf.ledger.database.write() as tx:
        tx.leases.take(SOON, ttl=-8 * 86_400)
    shelf.ledger.objects.put(b"garbage")
    collect_garbage(shelf.ledger, grace=-60)
    refer(shelf, SOON)


def test_what_is_referred_to_while_garbage_is_listed_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = shelf.ledger.objects.put(b"soon")
    objects = shelf.ledger.objects
    real = objects.temporaries

    def meanwhile() -> object:
        # The listing is nearly done, the write lock not yet taken.
        refer(shelf, digest)
        return real()

    monkeypatch.setattr(objects, "temporaries", meanwhile)
    assert collect_garbage(shelf.ledger, grace=-60) == []
    assert objects.get(digest) == b"soon"


# -- the command --------------------------------------------------------------------------------------


def test_the_command(shelf: Shelf, tmp_path: Path) -> None:
    garbage = shelf.ledger.objects.put(b"garbage")
    assert tmp_path in shelf.root.parents or shelf.root == tmp_path
    call = ["--ledger", str(shelf.root), "gc"]
    spared = CliRunner().invoke(app, call)
    assert (spared.exit_code, "removed 0 files" in spared.stderr) == (0, True)
    time.sleep(0.01)
    planned = CliRunner().invoke(app, [*call, "--older-than", "0", "--dry-run", "--json"])
    assert json.loads(planned.stdout)["removed"][0]["name"] == garbage
    assert garbage in shelf.ledger.objects
    done = CliRunner().invoke(app, [*call, "--older-than", "0"])
    assert (done.exit_code, "removed 1 files" in done.stderr, garbage in shelf.ledger.objects) == (0, True, False)
