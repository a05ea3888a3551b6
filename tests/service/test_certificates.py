"""Certificates of a ledger with a trained network in it: what they say is what the ledger did."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ledger.certificates.commitment import Opening
from ledger.certificates.dsse import statement_of
from ledger.certificates.files import check_certificate, check_opening
from ledger.digest import canonical_json, json_digest, sha256_hex
from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.domain.events.requests import RequestFulfilled
from ledger.domain.states import Action, RequestState
from ledger.errors import ConflictError, KeysError, LedgerError, NotFoundError, PurgedError, RowError, SignatureError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.evidence.certificate_files import bundle, openings_of
from ledger.service.evidence.certificates import (
    changed_since,
    erase_openings,
    get_certificate,
    issue,
    list_certificates,
    plan,
)
from ledger.service.evidence.evaluation import evaluate
from ledger.service.progress import Silent
from ledger.service.signing import load_signer
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.versions.export import export
from tests.ledgers.desk import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.certificates.verifier import Verified
    from ledger.domain.certificates import Certificate
    from tests.ledgers.desk import Desk


def verified(desk: Desk, certificate: Certificate) -> Verified:
    """Verify a certificate as somebody would who has the key and the file only."""
    return check_certificate(bundle(desk.ledger, certificate), load_signer(desk.ledger.config).verifier)


def predicate(certificate: Certificate) -> dict[str, Any]:
    """Return what a certificate says."""
    found: dict[str, Any] = statement_of(json.loads(certificate.envelope))["predicate"]
    return found


def edit(desk: Desk, statement: str, *values: Any) -> None:
    """Change the database behind the ledger's back."""
    with closing(sqlite3.connect(desk.root / "ledger.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_it_says_what_was_done_with_what(two_forgotten: Desk) -> None:
    desk = two_forgotten
    evaluate(desk.ledger, MODEL, 1, Silent(), only=["accuracy"], train_per_class=5)
    certificate = issue(desk.ledger, 1).certificate
    said, version, request = predicate(certificate), desk.versions()[1], desk.request(1)
    found = verified(desk, certificate)
    assert found.weights == version.weights == sha256_hex(desk.ledger.objects.get(version.weights))
    assert (found.request, said["version"]["number"], said["version"]["live"]) == (1, 1, 2)
    [fulfilled] = [event for event in desk.events("request.fulfilled") if event.request_id == 1]
    assert said["request"] == {
        "id": 1,
        "receivedAt": request.received_at.isoformat(),
        "dueAt": request.due_at.isoformat(),
        "fulfilledAt": fulfilled.at.isoformat(),
        "alreadyForgotten": False,
        "notKnownBefore": 0,
        "classes": said["request"]["classes"],
    }
    assert said["inputs"]["baseWeights"] == desk.versions()[0].weights
    assert said["inputs"]["settings"] == json_digest(desk.model().settings.to_json())
    samples = said["inputs"]["samples"]
    assert sorted((s["basis"], s["images"]) for s in samples) == [("forget", 90)] + [("retain", 40)] * 9
    with desk.ledger.database.read() as tx:
        spaces = {space.id: space.samples_digest for space in tx.class_spaces.all(desk.model())}
        assert {s["sha256"] for s in samples} == {spaces[t.class_space_id] for t in tx.versions.basis(version)}
    procedure = said["procedure"]
    assert (procedure["solver"], procedure["depth"]) == (version.recipe.solver, version.recipe.depth)
    assert procedure["recipe"] == json_digest(version.recipe.to_json())
    assert {"solver_projection", "eval_accuracy"} <= procedure["plugins"].keys()
    assert said["search"]["trials"] == len(version.recipe.trials)
    [measured] = said["evidence"]["measurements"]
    assert measured["evaluator"] == "accuracy"
    assert measured["against"] == "0"
    assert measured["figures"]["test.forgotten"] <= 0.02
    assert said["evidence"]["level"] == "L0 applied"
    assert said["notTested"]["levels"]["L1 outputs"] == ["confusion"]
    assert {"confusion", "membership"} <= set(said["notTested"]["evaluators"])
    evaluate(desk.ledger, MODEL, 1, Silent(), only=["confusion"], train_per_class=1)
    said = predicate(issue(desk.ledger, 1).certificate)
    assert said["evidence"]["level"] == "L1 outputs"
    assert said["evidence"]["fewestTestImages"] > 20


def test_it_names_the_copies_that_remain(two_forgotten: Desk, tmp_path: Path) -> None:
    desk = two_forgotten
    for number in (0, 2):
        export(desk.ledger, MODEL, number, tmp_path / str(number))
    first, second = predicate(issue(desk.ledger, 1).certificate), predicate(issue(desk.ledger, 2).certificate)
    assert [copy["version"] for copy in first["copies"]["stored"]] == [0]
    assert [copy["version"] for copy in second["copies"]["stored"]] == [0, 1]
    assert [copy["version"] for copy in second["copies"]["exported"]] == [0]
    # 3 was forgotten at once; 7 was collected as a retained class before.
    assert [len(said["copies"]["statistics"]) for said in (first, second)] == [1, 2]


def test_destroyed_weights_are_no_copies_any_more(two_forgotten: Desk) -> None:
    desk = two_forgotten
    base = desk.versions()[0].weights
    at = datetime(2026, 1, 6, tzinfo=UTC)
    with desk.ledger.database.write() as tx:
        tx.objects.note_destroyed(base, at=at)
        tx.audit.append(ObjectDestroyed(object=base), at=at, actor="tester")
    said = predicate(issue(desk.ledger, 1).certificate)["copies"]
    assert said["stored"] == []
    assert said["destroyed"] == [{"version": 0, "weights": base, "at": "2026-01-06T00:00:00+00:00"}]


def test_a_purge_is_seen_in_the_next_certificate(two_forgotten: Desk) -> None:
    desk = two_forgotten
    before = issue(desk.ledger, 1)
    purge(desk.ledger, plan_purge(desk.ledger, MODEL, timedelta(0)), timedelta(0), Silent(), clock_is_right=True)
    with desk.unchanged(), pytest.raises(PurgedError, match="version 1 of digits was purged"):
        issue(desk.ledger, 1)
    assert changed_since(desk.ledger, before.certificate) == [
        "version 1 was purged: nobody has its weights here any more",
        "what is live now is version 2, whose weights are others",
    ]
    after = issue(desk.ledger, 1, live=True)
    assert (after.repeated, after.certificate.version) == (False, 2)
    said = [predicate(issued.certificate)["copies"] for issued in (before, after)]
    assert [copy["version"] for copy in said[0]["stored"]] == [0]
    assert said[0]["statistics"] != []
    assert (said[1]["stored"], said[1]["statistics"]) == ([], [])
    assert [copy["version"] for copy in said[1]["destroyed"]] == [0]
    # What the earlier one says of its day still verifies, although its weights are gone.
    weights = [verified(desk, issued.certificate).weights for issued in (before, after)]
    assert weights == [version.weights for version in desk.versions()[1:]]
    # A later request is computed from what the purge left, and its certificate says so.
    desk.file(8)
    [done] = desk.work()
    assert done.version is not None
    said_later = predicate(issue(desk.ledger, done.request.id).certificate)
    assert said_later["inputs"]["baseWeights"] == desk.versions()[2].weights
    assert len(said_later["inputs"]["samples"]) == 8


def test_no_class_is_named_and_the_opening_names_it(two_forgotten: Desk) -> None:
    certificate = issue(two_forgotten.ledger, 2).certificate
    found = verified(two_forgotten, certificate)
    assert check_opening(openings_of(certificate), found) == [(7, "7")]
    event = two_forgotten.events("certificate.issued")[-1]
    assert event.data == {"certificate": 1, "version": 2, "envelope": found.envelope}
    assert event.seq == found.entry == certificate.audit_seq
    assert json_digest(json.loads(certificate.envelope)) == found.envelope
    assert certificate.openings is not None
    assert [Opening(**opening).commitment for opening in certificate.openings] == found.commitments


def test_everything_but_the_salts_is_determined(two_forgotten: Desk) -> None:
    salts = iter([b"a" * 32, b"b" * 32, b"a" * 32])
    made = [issue(two_forgotten.ledger, 1, renew=True, new_salt=lambda: next(salts)).certificate for _ in range(3)]
    assert made[0].envelope == made[2].envelope != made[1].envelope
    first, second = (predicate(certificate) for certificate in made[:2])
    assert [name for name in first if first[name] != second[name]] == ["request"]


def test_asking_again_gives_the_same_certificate_until_something_changes(two_forgotten: Desk) -> None:
    desk = two_forgotten
    first = issue(desk.ledger, 1)
    file = bundle(desk.ledger, first.certificate)
    desk.later()
    with desk.unchanged():
        again = issue(desk.ledger, 1)
        assert (again.certificate, again.repeated) == (first.certificate, True)
        assert bundle(desk.ledger, again.certificate) == file
    # A later checkpoint proves it as well, but the file stays what it was.
    desk.file(8)
    issue_checkpoint(desk.ledger)
    assert bundle(desk.ledger, first.certificate) == file
    assert issue(desk.ledger, 1).repeated
    evaluate(desk.ledger, MODEL, 1, Silent(), only=["confusion"], train_per_class=1)
    changed = issue(desk.ledger, 1)
    assert not changed.repeated
    assert [c.id for c, _ in list_certificates(desk.ledger)] == [1, 2]
    assert issue(desk.ledger, 1, renew=True).certificate.id == 3


def test_a_request_that_changed_nothing_is_certified_with_the_version_it_found(two_forgotten: Desk) -> None:
    request = two_forgotten.file(3, 7)
    assert request.no_op
    certificate = issue(two_forgotten.ledger, request.id).certificate
    said = predicate(certificate)
    assert (certificate.version, said["request"]["alreadyForgotten"]) == (2, True)
    assert len(verified(two_forgotten, certificate).commitments) == 2
    assert [copy["version"] for copy in said["copies"]["stored"]] == [0, 1]


def test_what_does_not_stand_is_not_certified(two_forgotten: Desk) -> None:
    desk = two_forgotten
    waiting = desk.file(8).id
    for number in (waiting, 1):
        if number == 1:
            desk.decide(waiting, Action.CANCEL)
            desk.roll_back(0)
        with desk.unchanged(), pytest.raises(ConflictError, match="only what was fulfilled"):
            issue(desk.ledger, number)
    with desk.unchanged(), pytest.raises(NotFoundError):
        issue(desk.ledger, 99)


def test_a_withdrawn_request_is_not_certified_and_the_other_still_is(two_forgotten: Desk) -> None:
    two_forgotten.withdraw(1)
    with pytest.raises(ConflictError, match="withdrawn"):
        issue(two_forgotten.ledger, 1)
    said = predicate(issue(two_forgotten.ledger, 2).certificate)
    assert (said["version"]["number"], said["version"]["live"]) == (2, 3)


def test_what_is_live_can_be_certified_for_an_earlier_request(two_forgotten: Desk) -> None:
    desk = two_forgotten
    own, live = issue(desk.ledger, 1).certificate, issue(desk.ledger, 1, live=True).certificate
    assert [one.version for one in (own, live)] == [1, 2]
    assert [predicate(one)["version"]["isLive"] for one in (own, live)] == [False, True]
    assert predicate(live)["request"]["id"] == 1
    assert verified(desk, live).weights == desk.live().weights
    assert changed_since(desk.ledger, live) == []
    desk.withdraw(2)
    assert changed_since(desk.ledger, live) == ["what is live now is version 3, whose weights are others"]


def test_a_version_with_the_same_bytes_inherits_the_evidence(desk: Desk) -> None:
    desk.forget(3)
    evaluate(desk.ledger, MODEL, 1, Silent(), only=["accuracy", "confusion"], train_per_class=1)
    measured = predicate(issue(desk.ledger, 1).certificate)["evidence"]
    desk.forget(7)
    desk.withdraw(2)
    [_, first, _, third] = desk.versions()
    assert (first.weights, first.number, third.number) == (third.weights, 1, 3)
    said = predicate(issue(desk.ledger, 1, live=True).certificate)
    assert said["version"]["isLive"] is True
    assert said["evidence"]["level"] == measured["level"] == "L1 outputs"
    assert [one.pop("measuredOn") for one in said["evidence"]["measurements"]] == [1, 1]
    assert said["evidence"]["measurements"] == measured["measurements"]


def test_nothing_is_signed_but_what_was_shown(two_forgotten: Desk, tmp_path: Path) -> None:
    desk = two_forgotten
    with desk.unchanged():
        shown = plan(desk.ledger, 1)
    assert (shown.version.number, shown.live.number, shown.is_live, shown.repeats) == (1, 2, False, None)
    assert any("not live" in sentence for sentence in shown.caveats)
    export(desk.ledger, MODEL, 0, tmp_path / "out")
    with desk.unchanged(), pytest.raises(ConflictError, match="changed since"):
        issue(desk.ledger, 1, shown=shown.confirmation)
    issued = issue(desk.ledger, 1, shown=plan(desk.ledger, 1).confirmation).certificate
    assert plan(desk.ledger, 1).repeats == issued


def test_waived_gates_are_stated_of_a_request_that_found_its_classes_forgotten(desk: Desk) -> None:
    desk.file(3)
    [done] = desk.work()
    assert done.version is not None
    # As a person's waiver leaves it, without the search for a candidate that misses a gate.
    with desk.ledger.database.write() as tx:
        fulfilled = RequestFulfilled(
            version=1, no_op=False, state=RequestState.FULFILLED, epoch=done.request.lease_epoch, gates_missed=1
        )
        tx.audit.append(fulfilled, at=desk.now, actor="tester", model=MODEL, request_id=1)
    again = desk.file(3)
    assert again.no_op
    assert predicate(issue(desk.ledger, again.id).certificate)["procedure"]["gatesMissed"] == 1


def test_rows_that_contradict_each_other_are_not_certified(two_forgotten: Desk) -> None:
    edit(two_forgotten, "UPDATE requests SET classes = '[8]' WHERE id = 1")
    with pytest.raises(RowError, match="requests 1: classes"):
        issue(two_forgotten.ledger, 1)


def test_a_damaged_version_is_not_certified(two_forgotten: Desk) -> None:
    edit(two_forgotten, "UPDATE versions SET quarantined = 'a flipped bit' WHERE number = 1")
    with pytest.raises(ConflictError, match="a flipped bit"):
        issue(two_forgotten.ledger, 1)
    assert issue(two_forgotten.ledger, 2).certificate.version == 2


def test_erased_openings_are_gone_and_the_certificate_verifies(two_forgotten: Desk) -> None:
    desk = two_forgotten
    certificate = issue(desk.ledger, 1).certificate
    before, opening = verified(desk, certificate), openings_of(certificate)
    salt = json.loads(opening)["classes"][0]["salt"].encode()
    assert salt in (desk.root / "ledger.db").read_bytes()
    assert erase_openings(desk.ledger, certificate.id)
    left = get_certificate(desk.ledger, certificate.id)
    assert left.openings is None
    assert [path for path in desk.root.rglob("*") if path.is_file() and salt in path.read_bytes()] == []
    assert verified(desk, left) == before
    with pytest.raises(PurgedError, match="erased"):
        openings_of(left)
    # Who has the opening can still show it.
    assert check_opening(opening, verified(desk, left)) == [(3, "3")]
    with closing(sqlite3.connect(desk.root / "ledger.db")) as connection:
        assert connection.execute("SELECT openings IS NULL FROM certificates").fetchall() == [(1,)]
    assert [event.data for event in desk.events("certificate.openings_erased")] == [{"certificate": 1}]
    with desk.unchanged():
        assert not erase_openings(desk.ledger, certificate.id)
        assert issue(desk.ledger, 1).repeated
        with pytest.raises(NotFoundError):
            erase_openings(desk.ledger, 99)


def test_an_altered_row_is_not_handed_out(two_forgotten: Desk) -> None:
    certificate = issue(two_forgotten.ledger, 1).certificate
    other = issue(two_forgotten.ledger, 2).certificate
    bundle(two_forgotten.ledger, certificate)
    edit(two_forgotten, "UPDATE certificates SET envelope = ? WHERE id = 1", other.envelope)
    with pytest.raises(RowError, match="certificates 1: envelope"):
        get_certificate(two_forgotten.ledger, 1)
    with pytest.raises(SignatureError, match="records something other"):
        bundle(two_forgotten.ledger, replace(certificate, envelope=other.envelope))
    envelope = json.loads(certificate.envelope)
    envelope["signatures"][0]["sig"] = "AAAA"
    edit(two_forgotten, "UPDATE certificates SET envelope = ? WHERE id = 1", canonical_json(envelope).decode())
    with pytest.raises(RowError, match="certificates 1: envelope"):
        get_certificate(two_forgotten.ledger, 1)
    with pytest.raises(SignatureError, match="signature of the envelope"):
        bundle(two_forgotten.ledger, replace(certificate, envelope=canonical_json(envelope).decode()))


def test_the_certificate_and_its_entry_come_together_or_not_at_all(two_forgotten: Desk) -> None:
    edit(
        two_forgotten,
        "CREATE TRIGGER full BEFORE INSERT ON certificates BEGIN SELECT RAISE(ABORT, 'no room for it'); END",
    )
    with two_forgotten.unchanged(), pytest.raises(LedgerError, match="no room for it"):
        issue(two_forgotten.ledger, 1)
    edit(two_forgotten, "DROP TRIGGER full")
    assert issue(two_forgotten.ledger, 1).certificate.id == 1


def test_without_its_key_nothing_is_certified_any_more(two_forgotten: Desk) -> None:
    desk = two_forgotten
    bundle(desk.ledger, issue(desk.ledger, 1).certificate)
    key = desk.ledger.config.keys_path / "signing.key"
    key.rename(key.with_name("elsewhere"))
    with desk.unchanged(), pytest.raises(KeysError, match="no signing key"):
        issue(desk.ledger, 2)


def test_several_classes_are_committed_to_one_by_one(desk: Desk) -> None:
    desk.forget(1, 4)
    certificate = issue(desk.ledger, 1).certificate
    assert sorted(check_opening(openings_of(certificate), verified(desk, certificate))) == [(1, "1"), (4, "4")]
