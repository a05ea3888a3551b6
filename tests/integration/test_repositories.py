"""Every query of every repository, on each kind of database."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ledger.domain.class_spaces import BasisTerm, ClassSpace, MapSummary, NewClassSpace, Role
from ledger.domain.evidence import Evidence
from ledger.domain.labels import LabelMap
from ledger.domain.models import Model, NewModel
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import Request
from ledger.domain.settings import Settings
from ledger.domain.states import OPEN_STATES, Action, RequestState
from ledger.domain.versions import AliasMove, Version, VersionKind
from ledger.errors import ConflictError, LedgerError, NotFoundError, TransitionError
from ledger.store.unit_of_work import Database, Transaction

MakeModel = Callable[..., NewModel]
FileRequest = Callable[..., Request]


def version_of(model: Model, number: int, when: datetime) -> Version:
    return Version(
        model_id=model.id,
        number=number,
        parent=number - 1 if number else None,
        kind=VersionKind.FORGET if number else VersionKind.BASE,
        request_id=None,
        restores=None,
        forgotten=frozenset(range(number)),
        weights=str(number) * 64,
        recipe=VersionRecipe({"alpha_r": 100.0, "maps": {"fc.weight": [0.5, 1e-17]}, "note": "Zoë", "none": None}),
        created_at=when,
    )


def add_versions(transaction: Transaction, model: Model, count: int, when: datetime) -> list[Version]:
    versions = [version_of(model, number, when) for number in range(count)]
    for version in versions:
        transaction.objects.add(version.weights, 10, "weights", at=when)
        transaction.versions.add(version)
    return versions


def space_of(model: Model, class_index: int, when: datetime) -> NewClassSpace:
    return NewClassSpace(
        model_id=model.id,
        class_index=class_index,
        spec_digest="5" * 64,
        samples=(7, 1, 300),
        samples_digest="6" * 64,
        object_digest="a" * 64,
        size=0,
        maps=(MapSummary("fc.weight", 64, 9, 1000, 12.5, 1e-9), MapSummary("conv[0]", 9, 9, 5, 0.1, 0.0)),
        created_at=when,
    )


# -- models -------------------------------------------------------------------------------------------


def test_a_model_comes_back_as_it_was_stored(database: Database, new_model: MakeModel) -> None:
    with database.write() as tx:
        added = tx.models.add(new_model())
        assert tx.models.add(new_model("bikes")).id != added.id
    assert added == Model(**vars(new_model()), id=added.id)
    with database.read() as tx:
        assert tx.models.get("cars") == added
        assert tx.models.by_id(added.id) == added
        assert [model.name for model in tx.models.all()] == ["bikes", "cars"]


def test_labels_and_settings_keep_their_order_and_letters(database: Database, new_model: MakeModel) -> None:
    labels = LabelMap(("z", "ä", "10", "\N{SNOWMAN}", "'; DROP TABLE models; --"))
    settings = Settings(seed=2**40, alpha_r=(1.5,), max_retained_drop=0.1)
    with database.write() as tx:
        tx.models.add(new_model(labels=labels, settings=settings))
    with database.read() as tx:
        model = tx.models.get("cars")
    assert model.labels == labels
    assert model.settings == settings


def test_a_models_name_is_taken_once(database: Database, new_model: MakeModel) -> None:
    with database.write() as tx:
        tx.models.add(new_model())
    with pytest.raises(ConflictError, match="already a model called 'cars'"), database.write() as tx:
        tx.models.add(new_model(data_spec="other"))
    with database.read() as tx:
        assert [model.data_spec for model in tx.models.all()] == ["digits"]


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(database: Database, new_model: MakeModel) -> None:
    with database.read() as tx, pytest.raises(NotFoundError) as caught:
        tx.models.get("cars")
    assert "unledger model add" in caught.value.hint
    with database.write() as tx:
        tx.models.add(new_model())
    with database.read() as tx, pytest.raises(NotFoundError) as caught:
        tx.models.get("Cars")
    assert caught.value.hint == "models: cars"


def test_moments_come_back_in_utc_whatever_zone_they_were_given_in(database: Database, new_model: MakeModel) -> None:
    moment = datetime(2025, 10, 26, 2, 30, 15, 123456, tzinfo=timezone(timedelta(hours=-9, minutes=-30)))
    with database.write() as tx:
        tx.models.add(new_model(created_at=moment))
    with database.read() as tx:
        stored = tx.models.get("cars").created_at
    assert stored == moment
    assert stored.tzinfo is UTC


# -- versions -----------------------------------------------------------------------------------------


def test_versions_come_back_oldest_first(database: Database, new_model: MakeModel, when: datetime) -> None:
    with database.write() as tx:
        model, other = tx.models.add(new_model()), tx.models.add(new_model("bikes"))
        versions = add_versions(tx, model, 3, when)
        add_versions(tx, other, 1, when)
    with database.read() as tx:
        assert tx.versions.all(model) == versions
        assert tx.versions.get(model, 2) == versions[2]
        assert tx.versions.get(other, 0).model_id == other.id
        with pytest.raises(NotFoundError, match="bikes has no version 1") as caught:
            tx.versions.get(other, 1)
    assert caught.value.hint == "see: unledger model versions bikes"


def test_a_version_number_is_used_once(database: Database, new_model: MakeModel, when: datetime) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        add_versions(tx, model, 1, when)
    with pytest.raises(LedgerError, match="the database refused"), database.write() as tx:
        tx.versions.add(replace(version_of(model, 0, when), recipe=VersionRecipe()))
    with database.read() as tx:
        assert tx.versions.get(model, 0).recipe != VersionRecipe()


def test_a_version_needs_weights_that_were_stored(database: Database, new_model: MakeModel, when: datetime) -> None:
    with pytest.raises(LedgerError, match="the database refused"), database.write() as tx:
        tx.versions.add(version_of(tx.models.add(new_model()), 0, when))
    with database.read() as tx:
        assert tx.models.all() == []


def test_the_live_alias_moves_and_every_move_is_kept(database: Database, new_model: MakeModel, when: datetime) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        other = tx.models.add(new_model("bikes"))
        for each in (model, other):
            add_versions(tx, each, 3, when)
            tx.versions.move_live(each, 0, at=when, audit_seq=1)
        tx.versions.move_live(model, 2, at=when, audit_seq=5)
    later = when + timedelta(days=1)
    with database.write() as tx:
        tx.versions.move_live(model, 1, at=later, audit_seq=9)
    with database.read() as tx:
        assert tx.versions.live(model).number == 1
        assert tx.versions.live(other).number == 0
        assert tx.versions.moves(model) == [
            AliasMove("live", 0, None, when, 1),
            AliasMove("live", 2, 0, when, 5),
            AliasMove("live", 1, 2, later, 9),
        ]
        assert len(tx.versions.moves(other)) == 1


def test_the_live_alias_cannot_name_a_version_that_does_not_exist(
    database: Database, new_model: MakeModel, when: datetime
) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        add_versions(tx, model, 1, when)
        tx.versions.move_live(model, 0, at=when, audit_seq=1)
    with pytest.raises(LedgerError, match="the database refused"), database.write() as tx:
        tx.versions.move_live(model, 7, at=when, audit_seq=2)
    with database.read() as tx:
        assert tx.versions.live(model).number == 0
        assert len(tx.versions.moves(model)) == 1


def test_a_versions_basis_comes_back_in_class_order(database: Database, new_model: MakeModel, when: datetime) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        add_versions(tx, model, 1, when)
        tx.objects.add("a" * 64, 33, "class_space", at=when)
        ids = [tx.class_spaces.add(space_of(model, k, when)).id for k in range(12)]
        terms = [BasisTerm(Role.FORGET if k in (2, 11) else Role.RETAIN, k, ids[k]) for k in range(12)]
        version = replace(version_of(model, 1, when), weights="0" * 64)
        tx.versions.add(version, terms[::-1])
    with database.read() as tx:
        basis = tx.versions.basis(version)
        assert tx.versions.basis(tx.versions.get(model, 0)) == []
    assert basis == [t for t in terms if t.role is Role.FORGET] + [t for t in terms if t.role is Role.RETAIN]


def test_the_newest_evidence_of_each_evaluator_counts(database: Database, new_model: MakeModel, when: datetime) -> None:
    def measured(evaluator: str, value: float, at: datetime = when) -> Evidence:
        metrics = {"retained": value, "per_class": [value]}
        return Evidence(evaluator, "eval_accuracy", "0.1.0", metrics, {"test": 20}, "e" * 64, at)

    with database.write() as tx:
        model = tx.models.add(new_model())
        first, second = add_versions(tx, model, 2, when)
        for evidence in (measured("accuracy", 0.5), measured("confusion", 0.6), measured("accuracy", 0.7)):
            tx.versions.add_evidence(first, evidence)
    with database.write() as tx:
        # Measured later though dated earlier: the order of recording decides, not a clock.
        tx.versions.add_evidence(first, measured("confusion", 0.8, at=when - timedelta(days=1)))
    with database.read() as tx:
        found = tx.versions.evidence(first)
        assert tx.versions.evidence(second) == {}
    assert found == {
        "accuracy": measured("accuracy", 0.7),
        "confusion": measured("confusion", 0.8, at=when - timedelta(days=1)),
    }


# -- requests -----------------------------------------------------------------------------------------


def test_requests_are_numbered_from_one_across_models(
    database: Database, new_model: MakeModel, file_request: FileRequest
) -> None:
    with database.write() as tx:
        first, second = tx.models.add(new_model()), tx.models.add(new_model("bikes"))
        numbers = [file_request(tx, model).id for model in (first, second, first)]
    with database.write() as tx:
        numbers.append(file_request(tx, second).id)
    assert numbers == [1, 2, 3, 4]


def test_a_request_comes_back_as_it_was_filed(
    database: Database, new_model: MakeModel, file_request: FileRequest, when: datetime
) -> None:
    due = when + timedelta(days=30)
    with database.write() as tx:
        model = tx.models.add(new_model())
        filed = file_request(tx, model, classes=[2, 0], due_at=due, reason="Zoë's\nwish", idempotency_key="k")
    assert filed == Request(
        id=1,
        model_id=model.id,
        classes=frozenset({0, 2}),
        state=RequestState.QUEUED,
        actor="alice",
        reason="Zoë's\nwish",
        basis="gdpr-17",
        external_id="T-1",
        received_at=when,
        due_at=due,
        created_at=when,
        updated_at=when,
        version=None,
        no_op=False,
        gates_waived=False,
        attempts=0,
        lease_owner=None,
        lease_epoch=0,
        outcome="",
    )
    with database.read() as tx:
        assert tx.requests.get(1) == filed
        with pytest.raises(NotFoundError, match="there is no request 2"):
            tx.requests.get(2)


def test_requests_are_listed_by_model_and_state(
    database: Database, new_model: MakeModel, file_request: FileRequest
) -> None:
    with database.write() as tx:
        first, second = tx.models.add(new_model()), tx.models.add(new_model("bikes"))
        for model, state in [(first, "queued"), (second, "denied"), (first, "on_hold"), (first, "fulfilled")]:
            file_request(tx, model, state=state)
    with database.read() as tx:

        def listed(model: Model | None = None, states: frozenset[RequestState] | None = None) -> list[int]:
            return [request.id for request in tx.requests.all(model, states)]

        assert listed() == [1, 2, 3, 4]
        assert listed(first) == [1, 3, 4]
        assert listed(states=OPEN_STATES) == [1, 3]
        assert listed(second, frozenset({RequestState.DENIED})) == [2]
        assert listed(states=frozenset()) == []
        assert [request.is_open for request in tx.requests.all()] == [True, False, True, False]


def test_an_idempotency_key_finds_its_request_and_is_used_once(
    database: Database, new_model: MakeModel, file_request: FileRequest
) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        filed = file_request(tx, model, idempotency_key="key-1", body_digest="c" * 64)
        file_request(tx, model)
        file_request(tx, model)
    with database.read() as tx:
        assert tx.requests.by_keys(["key-1", "KEY-1"]) == {"key-1": (filed, "c" * 64)}
    with pytest.raises(LedgerError, match="the database refused"), database.write() as tx:
        file_request(tx, model, idempotency_key="key-1")
    with database.read() as tx:
        # Requests without a key do not count as having the same one.
        assert len(tx.requests.all()) == 3


def test_an_action_moves_a_request_and_sets_what_goes_with_it(
    database: Database, new_model: MakeModel, file_request: FileRequest, when: datetime
) -> None:
    later = when + timedelta(hours=3)
    with database.write() as tx:
        filed = file_request(tx, tx.models.add(new_model()))
        denied = tx.requests.act(filed.id, Action.DENY, at=later, outcome="not theirs", gates_waived=True)
    assert denied == replace(
        filed, state=RequestState.DENIED, updated_at=later, outcome="not theirs", gates_waived=True
    )
    with database.read() as tx:
        assert tx.requests.get(filed.id) == denied


def test_an_action_that_is_not_allowed_changes_nothing(
    database: Database, new_model: MakeModel, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        filed = file_request(tx, tx.models.add(new_model()), state="denied")
    with (
        pytest.raises(TransitionError, match="request 1 is denied; it cannot retry from there"),
        database.write() as tx,
    ):
        tx.requests.act(filed.id, Action.RETRY, at=when + timedelta(days=1), outcome="changed")
    with database.write() as tx, pytest.raises(NotFoundError):
        tx.requests.act(99, Action.RETRY, at=when)
    with database.read() as tx:
        assert tx.requests.get(filed.id) == filed


# -- class spaces and objects ---------------------------------------------------------------------------


def test_a_class_space_is_found_by_what_it_was_collected_to(
    database: Database, new_model: MakeModel, when: datetime
) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        tx.objects.add("a" * 64, 33, "class_space", at=when)
        added = tx.class_spaces.add(space_of(model, 1, when))
        other = tx.class_spaces.add(space_of(model, 2, when))
    assert added == ClassSpace(**{**vars(space_of(model, 1, when)), "size": 33}, id=added.id)
    with database.read() as tx:
        assert tx.class_spaces.find(model, 1, "5" * 64) == added
        assert tx.class_spaces.find(model, 1, "4" * 64) is None
        assert tx.class_spaces.find(model, 3, "5" * 64) is None
        assert tx.class_spaces.all(model) == [added, other]


def test_a_class_space_collected_twice_is_kept_once(database: Database, new_model: MakeModel, when: datetime) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        tx.objects.add("a" * 64, 33, "class_space", at=when)
        tx.objects.add("b" * 64, 34, "class_space", at=when)
        first = tx.class_spaces.add(space_of(model, 1, when))
        again = tx.class_spaces.add(replace(space_of(model, 1, when), object_digest="b" * 64))
    assert again == first
    with database.read() as tx:
        assert tx.class_spaces.all(model) == [first]


def test_an_object_is_noted_once_and_may_be_large(database: Database, when: datetime) -> None:
    with database.write() as tx:
        tx.objects.add("a" * 64, 5 * 2**40, "weights", at=when)
        tx.objects.add("a" * 64, 1, "other", at=when)
        tx.objects.add("b" * 64, 2, "class_space", at=when)
    with database.read() as tx:
        assert sorted(tx.objects.kept()) == [("a" * 64, 5 * 2**40, "weights"), ("b" * 64, 2, "class_space")]
