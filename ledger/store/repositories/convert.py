"""Rows to domain values, explicitly, at the edge of the store."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Row

from ledger.domain.class_spaces import ClassSpace, MapSummary, NewClassSpace
from ledger.domain.data_record import DataRecord
from ledger.domain.evidence import Evidence, Provenance
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import Request
from ledger.domain.settings import Settings, preprocessing_from_json
from ledger.domain.states import RequestState
from ledger.domain.versions import AliasMove, Version, VersionKind
from ledger.errors import RowError
from ledger.store.database.tables import (
    AliasMoveRow,
    ClassSpaceRow,
    EvidenceRow,
    KeptResultRow,
    ModelRow,
    RequestRow,
    VersionRow,
)

P = ParamSpec("P")
T = TypeVar("T")

STATES = {state.value: state for state in RequestState}


def _readable(convert: Callable[P, T]) -> Callable[P, T]:
    """Turn what a row cannot be read for into our own error: somebody wrote to the database by other means."""

    @wraps(convert)
    def converted(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return convert(*args, **kwargs)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RowError(
                f"a {convert.__name__.replace('_', ' ')} in the database cannot be read: {error}",
                "see all differences with: unledger fsck, and restore the row or the database",
            ) from error

    return converted


def _indices(value: object) -> frozenset[int]:
    if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
        raise TypeError(f"{value!r:.60} is not a list of class indices")
    return frozenset(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{value!r:.60} is not a list of texts")
    return tuple(value)


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.60} is not a JSON object")
    return value


@_readable
def model(row: ModelRow) -> Model:
    """Return the model a row holds."""
    return Model(
        id=row.id,
        name=row.name,
        architecture=Architecture(row.architecture, _object(row.options)),
        labels=LabelMap(_texts(row.labels)),
        preprocessing=preprocessing_from_json(_object(row.preprocessing)),
        data_spec=row.data_spec,
        data_digest=row.data_digest,
        settings=Settings.from_json(_object(row.settings)),
        created_at=row.created_at,
        anchor=row.anchor,
        data=DataRecord.from_json(_object(row.data_record)),
        code_digest=row.code_digest,
    )


@_readable
def request(row: RequestRow | Row[Any]) -> Request:
    """Return the request a row holds."""
    return Request(
        id=row.id,
        model_id=row.model_id,
        classes=_indices(row.classes),
        state=RequestState(row.state),
        actor=row.actor,
        reason=row.reason,
        basis=row.basis,
        external_id=row.external_id,
        received_at=row.received_at,
        due_at=row.due_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
        no_op=row.no_op,
        gates_waived=row.gates_waived,
        attempts=row.attempts,
        lease_owner=row.lease_owner,
        lease_epoch=row.lease_epoch,
        outcome=row.outcome,
    )


@_readable
def list_of_requests(rows: Iterable[Sequence[Any]]) -> list[Request]:
    """Return the requests of many rows, which hold their columns in the order of the fields, the classes as JSON."""
    # The same few sets of classes come again and again.
    known: dict[str, frozenset[int]] = {}
    found = []
    for number, model_id, classes, state, *rest in rows:
        if classes not in known:
            known[classes] = _indices(json.loads(classes))
        found.append(Request(number, model_id, known[classes], STATES[state], *rest))
    return found


@_readable
def request_state(value: str) -> RequestState:
    """Return the state that a column holds."""
    return RequestState(value)


def new_request(values: Mapping[str, Any]) -> Request:
    """Return the request that a new row holds, by its columns."""
    same = {field.name: values[field.name] for field in fields(Request)}
    return Request(**{**same, "classes": frozenset(values["classes"]), "state": RequestState(values["state"])})


@_readable
def live_version(model_id: int, number: int, forgotten: object) -> tuple[int, tuple[int, frozenset[int]]]:
    """Return a model's id with its live version's number and forgotten classes."""
    return model_id, (number, _indices(forgotten))


@_readable
def version(row: VersionRow) -> Version:
    """Return the version a row holds."""
    return Version(
        model_id=row.model_id,
        number=row.number,
        parent=row.parent,
        kind=VersionKind(row.kind),
        request_id=row.request_id,
        restores=row.restores,
        forgotten=_indices(row.forgotten),
        weights=row.weights,
        recipe=VersionRecipe(_object(row.recipe)),
        created_at=row.created_at,
        quarantined=row.quarantined,
        purged_at=row.purged_at,
    )


@_readable
def alias_move(row: AliasMoveRow) -> AliasMove:
    """Return the alias move a row holds."""
    return AliasMove(row.name, row.version, row.previous, row.moved_at, row.audit_seq)


@_readable
def class_space(row: ClassSpaceRow, size: int) -> ClassSpace:
    """Return the class space a row holds; ``size`` is that of its object, in bytes."""
    return ClassSpace(
        id=row.id,
        model_id=row.model_id,
        class_index=row.class_index,
        spec_digest=row.spec_digest,
        samples=tuple(row.samples),
        samples_digest=row.samples_digest,
        object_digest=row.blob,
        size=size,
        maps=tuple(MapSummary(**summary) for summary in row.maps),
        created_at=row.created_at,
        anchor=row.anchor,
    )


def map_summaries(space: NewClassSpace) -> list[dict[str, object]]:
    """Return a class space's map summaries as JSON values."""
    return [asdict(summary) for summary in space.maps]


@_readable
def kept_result(row: KeptResultRow) -> KeptResult:
    """Return the kept result a row holds."""
    return KeptResult(
        model_id=row.model_id,
        anchor=row.anchor,
        kind=ResultKind(row.kind),
        members=tuple((int(index), str(digest)) for index, digest in row.members),
        parts=tuple(KeptPart(_texts(part["names"]), str(part["object"]), int(part["size"])) for part in row.parts),
        created_at=row.created_at,
    )


@_readable
def evidence(row: EvidenceRow) -> Evidence:
    """Return the evidence a row holds."""
    return Evidence(
        evaluator=row.evaluator,
        plugin=row.plugin,
        plugin_version=row.plugin_version,
        metrics=_object(row.metrics),
        samples=_object(row.samples),
        inputs_digest=row.inputs_digest,
        created_at=row.created_at,
        provenance=Provenance.read(row.provenance),
        version=row.version,
    )
