"""Certificates in SQL, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ledger.domain.certificates import Certificate
from ledger.domain.class_spaces import NewClassSpace
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version, VersionKind
from ledger.errors import NotFoundError
from tests.fixtures.events import any_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.models import Model, NewModel
    from ledger.domain.requests import Request
    from ledger.store.unit_of_work import Database, Transaction

WHEN = datetime(2026, 1, 5, tzinfo=UTC)
OPENING = {"index": 1, "label": "Zoë", "salt": "ab" * 32}


def certificate(number: int, request: Request, **changes: Any) -> Certificate:
    """Return a certificate that is not stored yet."""
    made = Certificate(number, request.id, 1, '{"payload":""}', (OPENING,), audit_seq=7, created_at=WHEN)
    return replace(made, **changes)


def add_version(tx: Transaction, model: Model, number: int, *forgotten: int) -> str:
    """Insert a version and return the digest of its weights."""
    weights = f"{number:064x}"
    tx.objects.add(weights, 10, "weights", at=WHEN)
    kind = VersionKind.FORGET if number else VersionKind.BASE
    tx.versions.add(
        Version(
            model.id, number, None, kind, None, None, frozenset(forgotten), weights, VersionRecipe({"depth": 1}), WHEN
        )
    )
    return weights


@pytest.fixture
def filled(
    database: Database, new_model: Callable[..., NewModel], file_request: Callable[..., Request]
) -> tuple[Database, Model, list[Request]]:
    """A database with a model and two requests."""
    with database.write() as tx:
        model = tx.models.add(new_model())
        requests = [file_request(tx, model) for _ in range(2)]
    return database, model, requests


def test_certificates_are_kept_in_order_and_found_by_request(filled: tuple[Database, Model, list[Request]]) -> None:
    database, _, (first, second) = filled
    with database.write() as tx:
        assert tx.certificates.newest(first) is None
        for request in (first, second, first):
            tx.certificates.add(certificate(tx.certificates.next_id(), request))
    with database.read() as tx:
        assert [(c.id, c.request_id) for c in tx.certificates.all()] == [(1, 1), (2, 2), (3, 1)]
        assert [c.id for c in tx.certificates.all(first)] == [1, 3]
        assert tx.certificates.get(2) == certificate(2, second)
        newest = tx.certificates.newest(first)
        assert newest is not None
        assert newest.id == 3
        with pytest.raises(NotFoundError, match="no certificate 4"):
            tx.certificates.get(4)


def test_erased_openings_leave_nothing_behind(filled: tuple[Database, Model, list[Request]]) -> None:
    database, _, (first, _) = filled
    with database.write() as tx:
        tx.certificates.add(certificate(1, first))
        tx.certificates.add(certificate(2, first))
    with database.write() as tx:
        tx.certificates.erase_openings(1)
        assert tx.certificates.get(1).openings is None
    with database.read() as tx:
        assert tx.certificates.get(1) == certificate(1, first, openings=None)
        assert tx.certificates.get(2) == certificate(2, first)
    with database.engine.connect() as connection:
        # NULL, not the JSON text null.
        found = connection.execute(text("SELECT id FROM certificates WHERE openings IS NULL"))
        assert found.scalars().all() == [1]


def test_copies_are_known_with_their_aliases_and_their_end(filled: tuple[Database, Model, list[Request]]) -> None:
    database, model, _ = filled
    with database.write() as tx:
        digests = [add_version(tx, model, number, *forgotten) for number, forgotten in enumerate(((), (1,), (1, 2)))]
        seq = tx.audit.append(any_event("version.created"), at=WHEN, actor="tester", model=model.name)
        tx.versions.move_live(model, 2, at=WHEN, audit_seq=seq)
    with database.engine.begin() as connection:
        ended = {"digest": digests[0], "at": WHEN.replace(tzinfo=None)}
        connection.execute(text("UPDATE blobs SET destroyed_at = :at WHERE digest = :digest"), ended)
        connection.execute(text("UPDATE versions SET quarantined = 'flipped' WHERE number = 1"))
    with database.read() as tx:
        found = tx.certificates.versions(model)
    assert [(v.number, v.weights, v.forgotten) for v in found] == [
        (0, digests[0], frozenset()),
        (1, digests[1], frozenset({1})),
        (2, digests[2], frozenset({1, 2})),
    ]
    assert [v.aliases for v in found] == [(), (), ("live",)]
    assert [v.destroyed_at for v in found] == [WHEN, None, None]
    assert [v.quarantined for v in found] == [None, "flipped", None]


def test_statistics_of_a_class_count_until_they_are_destroyed(filled: tuple[Database, Model, list[Request]]) -> None:
    database, model, _ = filled
    with database.write() as tx:
        for number, class_index in enumerate((1, 1, 2)):
            digest = f"b{number}" * 32
            tx.objects.add(digest, 5, "class space", at=WHEN)
            tx.class_spaces.add(
                NewClassSpace(model.id, class_index, f"5{number}" * 32, (1,), "5a" * 32, digest, 5, (), WHEN)
            )
    with database.engine.begin() as connection:
        ended = {"digest": "b1" * 32, "at": WHEN.replace(tzinfo=None)}
        connection.execute(text("UPDATE blobs SET destroyed_at = :at WHERE digest = :digest"), ended)
    with database.read() as tx:
        assert [space.object_digest for space in tx.certificates.statistics(model, {1})] == ["b0" * 32]
        assert [space.object_digest for space in tx.certificates.statistics(model, {1, 2})] == ["b0" * 32, "b2" * 32]
