"""Events: each kind has one class, and what it writes it reads, also from the ledgers of earlier releases."""

import json
import re
import sqlite3
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit.events import AuditEvent, read_event
from ledger.digest import canonical_json
from ledger.domain.events.catalogue import EVENTS
from ledger.domain.events.event import Event, EventKind, json_keys
from ledger.domain.events.models import ModelRegistered
from ledger.domain.events.requests import RequestFulfilled, RequestRetried, RequestWithdrawn
from ledger.domain.events.versions import VersionCreated
from ledger.domain.previews import PreviewedClass, PreviewOutcome
from ledger.domain.states import RequestState
from ledger.domain.versions import VersionKind
from ledger.errors import AuditError

ROOT = Path(__file__).parents[3]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/ledger.sql"))
SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: SAFE_INTEGERS,
    bool: st.booleans(),
    str: TEXTS,
    RequestState: st.sampled_from(RequestState),
    VersionKind: st.sampled_from(VersionKind),
    PreviewOutcome: st.sampled_from(PreviewOutcome),
    datetime: st.datetimes(timezones=st.timezones() | st.none()),
    int | None: st.none() | SAFE_INTEGERS,
    str | None: st.none() | TEXTS,
}
FACTS = {"state": "fulfilled", "version": 3, "no_op": False}


def golden_leaves(path: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(":memory:") as database:
        database.executescript(path.read_text())
        rows = database.execute("SELECT leaf FROM audit_events ORDER BY seq").fetchall()
    database.close()
    return [json.loads(leaf) for (leaf,) in rows]


def recorded(data: dict[str, Any], kind: str = "request.fulfilled") -> AuditEvent:
    return AuditEvent(7, datetime(2026, 3, 1, tzinfo=UTC), kind, "ada", "cars", 1, data, leaf="", digest="")


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return values of a fact's type: one of those above, tuples of them, or nothing."""
    if kind in VALUES:
        return VALUES[kind]
    if isinstance(kind, type) and is_dataclass(kind):
        return st.builds(kind, **{one.name: values_of(one.type) for one in fields(kind)})
    if kind is PreviewedClass:
        return st.tuples(*[SAFE_INTEGERS] * len(PreviewedClass._fields)).map(PreviewedClass._make)
    items = get_args(kind)
    if get_origin(kind) is not tuple:
        return st.one_of([st.none() if item is NoneType else values_of(item) for item in items])
    return (
        st.lists(values_of(items[0]), max_size=5).map(tuple) if items[-1] is ... else st.tuples(*map(values_of, items))
    )


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = EVENTS[draw(st.sampled_from(EventKind))]
    values = {
        one.name: draw(values_of(one.type)) for one in fields(kind) if one.default is MISSING or draw(st.booleans())
    }
    return kind(**values)


def test_every_kind_has_a_class() -> None:
    assert set(EVENTS) == set(EventKind)
    assert len(set(EVENTS.values())) == len(EVENTS) == len(EventKind)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_entries_of_earlier_releases_are_written_again_as_they_are(path: Path) -> None:
    leaves = golden_leaves(path)
    assert len({leaf["kind"] for leaf in leaves}) >= 10
    for leaf in leaves:
        event = read_event(leaf["kind"], leaf["data"])
        assert event is not None
        assert type(event) is EVENTS[leaf["kind"]]
        assert canonical_json(event.to_json()) == canonical_json(leaf["data"])


@given(events())
def test_what_an_event_writes_it_reads(event: Event) -> None:
    written = canonical_json(event.to_json())
    read = read_event(event.kind, json.loads(written))
    assert read == event
    assert canonical_json(read.to_json()) == written


def test_facts_that_say_nothing_are_left_out() -> None:
    state = RequestState.FULFILLED
    assert RequestFulfilled(state=state, version=3, no_op=True).to_json() == FACTS | {"no_op": True}
    carried_out = RequestFulfilled(state=state, version=3, no_op=False, epoch=2, gates_missed=1)
    assert carried_out.to_json() == FACTS | {"epoch": 2, "gates_missed": 1}
    retried = RequestRetried(state=RequestState.QUEUED, previous=RequestState.BLOCKED)
    assert retried.to_json() == {"from": "blocked", "state": "queued"}
    withdrawn = RequestWithdrawn(state=RequestState.WITHDRAWN, previous=state, version=4, readmitted=())
    assert withdrawn.to_json() == {"from": "fulfilled", "state": "withdrawn", "version": 4, "readmitted": []}
    base = VersionCreated(version=0, parent=None, version_kind=VersionKind.BASE, forgotten=(), weights="w")
    assert base.to_json() == {"version": 0, "parent": None, "kind": "base", "forgotten": [], "weights": "w"}


def test_entries_of_before_a_fact_was_recorded_are_read() -> None:
    facts = {"architecture": "a", "weights": "w", "data": "d", "classes": 2}
    event = read_event("model.registered", facts)
    assert event == ModelRegistered(architecture="a", weights="w", data="d", classes=2)
    assert event.setup is None


def test_facts_that_a_later_release_added_are_left_alone() -> None:
    assert recorded({**FACTS, "mood": ["good"]}).payload == RequestFulfilled(
        state=RequestState.FULFILLED, version=3, no_op=False
    )


def test_a_kind_that_this_release_does_not_know_has_no_payload() -> None:
    assert recorded({"n": 1}, "request.framed").payload is None


@pytest.mark.parametrize(
    "data",
    [
        {},
        {key: value for key, value in FACTS.items() if key != "version"},
        FACTS | {"version": "3"},
        FACTS | {"version": True},
        FACTS | {"version": 3.5},
        FACTS | {"state": "happy"},
        FACTS | {"epoch": [1]},
    ],
    ids=str,
)
def test_malformed_facts_are_an_error_that_names_the_entry(data: dict[str, Any]) -> None:
    with pytest.raises(AuditError, match=r"entry 7 is not a valid request\.fulfilled: ") as caught:
        _ = recorded(data).payload
    assert caught.value.seq == 7


def test_a_date_that_is_none_is_malformed() -> None:
    facts = {"state": "reopened", "version": 3}
    for date in ("yesterday", "", 5, None):
        with pytest.raises(AuditError):
            _ = recorded(facts | {"due_at": date}, "request.reopened").payload


def test_every_event_is_documented_with_its_exact_facts() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| [^|]+ \| ([^|]*) \|$", text, re.MULTILINE))
    assert set(rows) == set(EVENTS)
    for kind, event in EVENTS.items():
        said = re.findall(r"`(\w+)`(\??)", rows[kind])
        assert sorted(said) == sorted((key, "?" if optional else "") for key, optional in json_keys(event)), kind
