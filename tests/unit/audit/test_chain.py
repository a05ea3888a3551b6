"""The hash chain: fixed vectors, and every way to tamper with a history."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.audit.chain import GENESIS, Entry, Head, leaf_digest, leaf_text, verify_chain
from ledger.audit.verification import ExternalRecord, LogVerification
from ledger.errors import AuditError, UsageError


def chain(events: Sequence[dict[str, Any]]) -> list[Entry]:
    """Return an honest history of some events."""
    entries, previous = [], GENESIS
    for seq, event in enumerate(events, start=1):
        leaf = leaf_text(seq, previous, event)
        previous = leaf_digest(leaf)
        entries.append(Entry(seq, leaf, previous))
    return entries


def head(entries: Sequence[Entry]) -> Head:
    return Head(len(entries), entries[-1].digest)


def verified(entries: Sequence[Entry], kept: Head | None = None) -> list[dict[str, Any]]:
    """Return the events of a history that holds: as a chain, or also against a head that was kept of it."""
    if kept is None:
        return list(verify_chain(entries))
    verification = LogVerification(ExternalRecord(heads=(kept,)))
    events = verification.verify_page(entries)
    verification.finish()
    return events


def first_bad(entries: Sequence[Entry], kept: Head | None = None) -> int | None:
    """Return the sequence number that verification stops at, or None if it passes."""
    try:
        verified(entries, kept)
    except AuditError as error:
        return error.seq
    return None


HISTORY = chain([{"kind": "request.filed", "data": {"n": n}} for n in range(1, 7)])
FORGED = {"kind": "request.denied", "data": {}}


def rewritten(entry: Entry, **changes: Any) -> Entry:
    """Return an entry with another text and the digest that fits it."""
    leaf = json.dumps({**json.loads(entry.leaf), **changes})
    return Entry(entry.seq, leaf, leaf_digest(leaf))


# -- fixed vectors ------------------------------------------------------------------------------------


def test_a_leaf_hash_is_the_one_of_rfc_6962() -> None:
    # The hash of an empty leaf, as certificate transparency implementations publish it.
    assert leaf_digest("") == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_the_first_entries_of_a_known_history_have_known_bytes() -> None:
    first = leaf_text(
        1,
        GENESIS,
        {"kind": "request.filed", "actor": "alice", "at": "2025-03-31T12:30:00+00:00", "data": {"classes": [1, 2]}},
    )
    assert first == (
        '{"actor":"alice","at":"2025-03-31T12:30:00+00:00","data":{"classes":[1,2]},"kind":"request.filed",'
        '"previous":"0000000000000000000000000000000000000000000000000000000000000000","seq":1}'
    )
    assert leaf_digest(first) == "355eedfd9f07871cdef726faf526013b249364020e49845a0a88f32d3f65d432"
    second = leaf_text(
        2,
        leaf_digest(first),
        {
            "model": "cars",
            "kind": "request.fulfilled",
            "actor": "Zoë",
            "at": "2025-04-01T00:00:00+00:00",
            "data": {"alpha": 0.1},
        },
    )
    assert leaf_digest(second) == "4791ecf8da3c8195e3e5c439e17170a671a3b7718df2857c523d0aedc5ce956e"


def test_the_order_of_keys_does_not_change_a_leaf_and_the_place_does() -> None:
    assert leaf_text(1, GENESIS, {"a": 1, "b": 2.0}) == leaf_text(1, GENESIS, {"b": 2, "a": 1})
    assert leaf_text(1, GENESIS, {"a": 1}) != leaf_text(2, GENESIS, {"a": 1})
    assert leaf_text(1, GENESIS, {"a": 1}) != leaf_text(1, "1" * 64, {"a": 1})


def test_an_event_cannot_choose_its_own_place() -> None:
    event = json.loads(leaf_text(3, "f" * 64, {"seq": 99, "previous": GENESIS}))
    assert (event["seq"], event["previous"]) == (3, "f" * 64)


# -- honest histories ---------------------------------------------------------------------------------


def test_an_honest_history_yields_its_events_in_order() -> None:
    events = verified(HISTORY, head(HISTORY))
    assert [event["data"]["n"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert list(verify_chain([])) == []


@pytest.mark.parametrize("size", range(1, 7))
def test_a_history_contains_every_head_it_once_had(size: int) -> None:
    assert first_bad(HISTORY, head(HISTORY[:size])) is None


def test_an_empty_history_contains_the_empty_head_alone() -> None:
    assert first_bad([], Head(0, GENESIS)) is None
    assert first_bad([], head(HISTORY)) == 1


def test_entries_are_checked_as_they_stream() -> None:
    def endless() -> Iterator[Entry]:
        yield from HISTORY[:2]
        raise AssertionError("read on after the first bad entry")

    events = verify_chain(iter([HISTORY[0], HISTORY[1]._replace(leaf="{}"), *HISTORY[2:]]))
    assert next(events)["seq"] == 1
    with pytest.raises(AuditError):
        next(events)
    lazily = verify_chain(endless())
    assert [next(lazily)["seq"], next(lazily)["seq"]] == [1, 2]


# -- tampering ----------------------------------------------------------------------------------------

PLACES = range(6)


@pytest.mark.parametrize("at", PLACES)
def test_an_edited_text_is_found_where_it_is(at: int) -> None:
    entries = [*HISTORY]
    entries[at] = entries[at]._replace(leaf=entries[at].leaf.replace("filed", "Filed"))
    assert first_bad(entries) == at + 1
    with pytest.raises(AuditError, match=f"entry {at + 1} was altered"):
        list(verify_chain(entries))


@pytest.mark.parametrize("at", PLACES)
def test_an_edited_digest_is_found_where_it_is(at: int) -> None:
    entries = [*HISTORY]
    entries[at] = entries[at]._replace(digest="0" * 64)
    assert first_bad(entries) == at + 1


@pytest.mark.parametrize("at", PLACES[:-1])
def test_an_entry_rehashed_after_an_edit_is_betrayed_by_the_next(at: int) -> None:
    entries = [*HISTORY]
    entries[at] = rewritten(entries[at], kind="request.denied")
    assert first_bad(entries) == at + 2
    with pytest.raises(AuditError, match=f"entry {at + 2} does not follow entry {at + 1}"):
        list(verify_chain(entries))


def test_the_last_entry_rehashed_is_found_by_a_kept_head_alone() -> None:
    entries = [*HISTORY[:-1], rewritten(HISTORY[-1], kind="request.denied")]
    assert first_bad(entries) is None
    assert first_bad(entries, head(HISTORY)) == 6


@pytest.mark.parametrize("at", PLACES[:-1])
def test_a_deleted_entry_is_named_as_missing(at: int) -> None:
    entries = [*HISTORY[:at], *HISTORY[at + 1 :]]
    assert first_bad(entries) == at + 1
    with pytest.raises(AuditError, match=f"entry {at + 1} is missing: entry {at + 2} stands in its place"):
        list(verify_chain(entries))


@pytest.mark.parametrize("at", PLACES[:-1])
def test_a_deleted_entry_is_found_even_if_the_others_are_renumbered(at: int) -> None:
    entries = [*HISTORY[:at], *(entry._replace(seq=entry.seq - 1) for entry in HISTORY[at + 1 :])]
    assert first_bad(entries) == at + 1
    with pytest.raises(AuditError, match="carries another sequence number in its text"):
        list(verify_chain(entries))


@pytest.mark.parametrize("at", PLACES)
def test_an_inserted_entry_is_found(at: int) -> None:
    previous = HISTORY[at - 1].digest if at else GENESIS
    leaf = leaf_text(at + 1, previous, FORGED)
    forged = Entry(at + 1, leaf, leaf_digest(leaf))
    assert first_bad([*HISTORY[:at], forged, *HISTORY[at:]]) == at + 2
    renumbered = [*HISTORY[:at], forged, *(entry._replace(seq=entry.seq + 1) for entry in HISTORY[at:])]
    assert first_bad(renumbered) == at + 2


def test_an_entry_stored_twice_is_found() -> None:
    assert first_bad([*HISTORY[:3], HISTORY[2], *HISTORY[3:]]) == 4


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 4), (0, 5), (4, 5)])
def test_exchanged_entries_are_found_at_the_first(first: int, second: int) -> None:
    entries = [*HISTORY]
    entries[first], entries[second] = entries[second], entries[first]
    assert first_bad(entries) == first + 1
    renumbered = [entry._replace(seq=seq) for seq, entry in enumerate(entries, start=1)]
    assert first_bad(renumbered) == first + 1


@pytest.mark.parametrize("left", range(6))
def test_a_truncated_history_is_found_by_a_kept_head_alone(left: int) -> None:
    assert first_bad(HISTORY[:left]) is None
    assert first_bad(HISTORY[:left], head(HISTORY)) == left + 1
    with pytest.raises(AuditError, match=f"history ends at entry {left}, the head kept elsewhere is entry 6") as caught:
        verified(HISTORY[:left], head(HISTORY))
    assert "backup" in caught.value.hint


@pytest.mark.parametrize("at", PLACES)
def test_a_history_rewritten_with_every_digest_is_found_by_a_kept_head_alone(at: int) -> None:
    events = [{"kind": "request.filed", "data": {"n": n}} for n in range(1, 7)]
    events[at] = FORGED
    entries = chain(events)
    assert first_bad(entries) is None
    assert first_bad(entries, head(HISTORY)) == 6
    for size in range(1, 7):
        # A head from before the rewritten entry proves nothing about what came after it.
        assert first_bad(entries, head(HISTORY[:size])) == (size if size > at else None)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ("not json", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ("[]", "another sequence number"),
        ("null", "another sequence number"),
        ("{}", "another sequence number"),
        ('{"seq":"1"}', "another sequence number"),
        ('{"seq":2}', "another sequence number"),
        ('{"seq":1}', "does not follow entry 0"),
        ('{"seq":1,"previous":""}', "does not follow entry 0"),
    ],
    ids=lambda text: text[:20],
)
def test_a_text_that_is_no_entry_is_refused_even_with_a_fitting_digest(leaf: str, message: str) -> None:
    with pytest.raises(AuditError, match=message) as caught:
        list(verify_chain([Entry(1, leaf, leaf_digest(leaf))]))
    assert caught.value.seq == 1
    assert caught.value.exit_code == 5


VALUES = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=8), st.booleans(), st.none())
EVENTS = st.lists(st.dictionaries(st.sampled_from(["kind", "actor", "data"]), VALUES), min_size=1, max_size=8)


@given(events=EVENTS, data=st.data())
def test_whatever_is_done_to_a_history_somebody_with_its_head_finds_out(
    events: list[dict[str, Any]], data: st.DataObject
) -> None:
    honest = chain(events)
    entries = [*honest]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(entries) - 1)) if entries else 0
        match data.draw(st.sampled_from(["edit", "rehash", "delete", "repeat", "move", "renumber", "rewrite"])):
            case "edit" if entries:
                leaf = entries[at].leaf
                cut = data.draw(st.integers(0, len(leaf) - 1))
                entries[at] = entries[at]._replace(
                    leaf=leaf[:cut] + data.draw(st.characters(codec="utf-8")) + leaf[cut + 1 :]
                )
            case "rehash" if entries:
                entries[at] = entries[at]._replace(digest=leaf_digest(entries[at].leaf))
            case "delete" if entries:
                del entries[at]
            case "repeat" if entries:
                entries.insert(data.draw(st.integers(0, len(entries))), entries[at])
            case "move" if entries:
                entries.insert(data.draw(st.integers(0, len(entries) - 1)), entries.pop(at))
            case "renumber":
                entries = [entry._replace(seq=seq) for seq, entry in enumerate(entries, start=1)]
            case "rewrite":
                entries = chain([*events[:at], FORGED, *events[at + 1 :]])
    assume(entries[: len(honest)] != honest)
    bad = first_bad(entries, head(honest))
    assert bad is not None
    # Never before the first difference: what is untouched stays proven.
    difference = next(
        (seq for seq, (a, b) in enumerate(zip(entries, honest, strict=False), start=1) if a != b),
        min(len(entries), len(honest)) + 1,
    )
    assert bad >= difference


# -- heads --------------------------------------------------------------------------------------------


@given(size=st.integers(0, 10**12), digest=st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_head_can_be_written_down_and_read_back(size: int, digest: str) -> None:
    assert Head.parse(str(Head(size, digest))) == Head(size, digest)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "3", f":{GENESIS}", f"-1:{GENESIS}", f"+1:{GENESIS}", f" 1:{GENESIS}", f"1:{GENESIS} ",
        f"1:{GENESIS[:-1]}", f"1:{GENESIS}0", f"1:{'A' * 64}", f"1:{'g' * 64}", f"1:{'é' * 64}", f"1.0:{GENESIS}",
        f"1::{GENESIS}", f"²:{GENESIS}", f"١:{GENESIS}", pytest.param(f"{'9' * 5000}:{GENESIS}", id="5000 digits"),
    ],
)  # fmt: skip
def test_anything_else_is_not_a_head(text: str) -> None:
    with pytest.raises(UsageError, match="is not an audit head") as caught:
        Head.parse(text)
    assert "SIZE:SHA256" in caught.value.hint


@given(text=st.text(max_size=80))
def test_reading_a_head_fails_with_our_error_alone(text: str) -> None:
    with pytest.raises(UsageError):
        Head.parse(text)
