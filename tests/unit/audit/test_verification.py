"""One pass over a history: what it names, and what was kept of it in checkpoints, witness files, exports and proofs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit.chain import GENESIS, Entry, Head, leaf_digest, leaf_text
from ledger.audit.exported_log import export_lines, read_export
from ledger.audit.merkle import EMPTY_ROOT, inclusion_proof, tree_root
from ledger.audit.proofs import Proof
from ledger.audit.signed_notes import Checkpoint, Signer, Verifier, open_checkpoint, sign_checkpoint
from ledger.audit.tree_builder import BLOCK
from ledger.audit.verification import ExternalRecord, LogVerification
from ledger.audit.witness import Witness, read_witness, witness_line
from ledger.errors import AuditError, LedgerError, SignatureError, UsageError
from tests.unit.merkle_trees import subtree_over

SIGNER = Signer("unledger/1a2b3c4d", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer("unledger/1a2b3c4d", Ed25519PrivateKey.from_private_bytes(bytes(32)))
KEYS = [SIGNER.verifier]


def chain(count: int, *, forged: int | None = None) -> list[Entry]:
    """Return an honest history; with ``forged``, one in which an entry says something else."""
    entries, previous = [], GENESIS
    for seq in range(1, count + 1):
        leaf = leaf_text(seq, previous, {"kind": "request.filed", "data": {"n": -seq if seq == forged else seq}})
        previous = leaf_digest(leaf)
        entries.append(Entry(seq, leaf, previous))
    return entries


def hashes(entries: Sequence[Entry]) -> list[bytes]:
    return [bytes.fromhex(entry.digest) for entry in entries]


def checkpoint(entries: Sequence[Entry]) -> Checkpoint:
    return Checkpoint(SIGNER.name, len(entries), tree_root(hashes(entries)))


def note(entries: Sequence[Entry], signer: Signer = SIGNER) -> str:
    return sign_checkpoint(checkpoint(entries), signer)


def first_bad(entries: Sequence[Entry], kept: ExternalRecord | None = None, *, page: int = 5) -> int | None:
    """Return what a pass over a history names, or None if it holds."""
    walk = LogVerification(kept)
    try:
        for start in range(0, len(entries), page):
            walk.verify_page(entries[start : start + page])
        walk.finish()
    except AuditError as error:
        return error.seq
    return None


HISTORY = chain(23)


# -- the pass -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 4, 7, 100])
def test_an_honest_history_holds_against_all_that_was_kept(page: int) -> None:
    kept = ExternalRecord(
        heads=(Head(0, GENESIS), Head(9, HISTORY[8].digest)),
        checkpoints=tuple(checkpoint(HISTORY[:size]) for size in (23, 0, 8, 8)),
        digests=tuple(entry.digest for entry in HISTORY[:20]),
    )
    assert first_bad(HISTORY, kept, page=page) is None
    walk = LogVerification(kept)
    events = walk.verify_page(HISTORY)
    assert [event["data"]["n"] for event in events] == list(range(1, 24))
    assert walk.finish() == Head(23, HISTORY[-1].digest)
    assert walk.frontier.root == tree_root(hashes(HISTORY))


@pytest.mark.parametrize("page", [1, 4, 100])
@pytest.mark.parametrize(
    ("kept", "named"),
    [
        (ExternalRecord(), None),
        (ExternalRecord(heads=(Head(10, HISTORY[9].digest),)), None),
        (ExternalRecord(heads=(Head(15, HISTORY[14].digest),)), 15),
        (ExternalRecord(checkpoints=(checkpoint(HISTORY[:10]),)), None),
        (ExternalRecord(checkpoints=(checkpoint(HISTORY[:15]),)), 1),
        (ExternalRecord(checkpoints=(checkpoint(HISTORY[:10]), checkpoint(HISTORY[:15]), checkpoint(HISTORY))), 11),
        (ExternalRecord(digests=tuple(entry.digest for entry in HISTORY)), 12),
        (ExternalRecord(checkpoints=(checkpoint(HISTORY),), digests=tuple(entry.digest for entry in HISTORY)), 12),
    ],
)
def test_a_history_rewritten_from_the_twelfth_entry_on(kept: ExternalRecord, named: int | None, page: int) -> None:
    assert first_bad(chain(23, forged=12), kept, page=page) == named


def test_a_checkpoint_names_what_stands_before_a_broken_link() -> None:
    # Entries 3 to 11 were rewritten and linked again, the rest was not.
    entries = [*chain(11, forged=3), *HISTORY[11:]]
    assert first_bad(entries) == 12
    assert first_bad(entries, ExternalRecord(checkpoints=(checkpoint(HISTORY[:10]),)), page=100) == 1


@pytest.mark.parametrize(
    ("kept", "word"),
    [
        (ExternalRecord(heads=(Head(23, HISTORY[-1].digest),)), "head"),
        (ExternalRecord(checkpoints=(checkpoint(HISTORY),)), "checkpoint"),
        (ExternalRecord(digests=tuple(entry.digest for entry in HISTORY)), "witness"),
    ],
)
def test_a_missing_end_is_found_by_whatever_was_kept(kept: ExternalRecord, word: str) -> None:
    walk = LogVerification(kept)
    walk.verify_page(HISTORY[:20])
    with pytest.raises(AuditError, match=f"the {word} kept elsewhere is entry 23") as caught:
        walk.finish()
    assert caught.value.seq == 21


def test_an_empty_history_is_not_what_a_checkpoint_of_another_root_says() -> None:
    LogVerification(ExternalRecord(checkpoints=(Checkpoint("x", 0, EMPTY_ROOT),)))
    with pytest.raises(AuditError, match="not one of this history"):
        LogVerification(ExternalRecord(checkpoints=(Checkpoint("x", 0, bytes(32)),)))


def test_stored_subtrees_must_be_those_of_the_entries() -> None:
    entries = chain(BLOCK + 3)
    root = tree_root(hashes(entries[:BLOCK])).hex()

    def named(subtrees: dict[tuple[int, int], str]) -> int | None:
        walk = LogVerification(None, subtrees)
        try:
            walk.verify_page(entries)
            walk.finish()
        except AuditError as error:
            return error.seq
        return None

    assert named({(8, 0): root}) is None
    assert named({}) == 1
    assert named({(8, 0): GENESIS}) == 1
    assert named({(8, 0): root, (8, 1): root}) == BLOCK + 4


def test_kept_things_add_up() -> None:
    first = ExternalRecord(heads=(Head(1, "a"),), digests=("a", "b"))
    second = ExternalRecord(checkpoints=(checkpoint(HISTORY),), digests=("a",))
    assert first | second == ExternalRecord((Head(1, "a"),), (checkpoint(HISTORY),), ("a", "b"))


# -- signed notes -------------------------------------------------------------------------------------


def test_a_checkpoint_has_known_bytes() -> None:
    signed = sign_checkpoint(Checkpoint(SIGNER.name, 0, EMPTY_ROOT), SIGNER)
    assert signed.splitlines()[:4] == [
        "unledger/1a2b3c4d", "0", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "",
    ]  # fmt: skip
    assert signed.splitlines()[4].startswith("— unledger/1a2b3c4d ")
    assert str(Verifier.parse(str(SIGNER.verifier))) == str(SIGNER.verifier)


def test_a_signed_note_opens_with_its_key_alone() -> None:
    signed = note(HISTORY)
    assert open_checkpoint(signed, KEYS) == checkpoint(HISTORY) == Checkpoint.of_note(signed)
    for keys in ([], [OTHER.verifier], [replace(SIGNER, name="else").verifier]):
        with pytest.raises(SignatureError, match="none of the known keys"):
            open_checkpoint(signed, keys)


def test_a_line_by_an_unknown_key_is_ignored() -> None:
    cosigned = note(HISTORY) + note(HISTORY, OTHER).splitlines()[-1] + "\n"
    assert open_checkpoint(cosigned, KEYS) == checkpoint(HISTORY) == open_checkpoint(cosigned, [OTHER.verifier])


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_closes_a_note(at: int, bit: int) -> None:
    data = bytearray(note(HISTORY).encode())
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(SignatureError):
        open_checkpoint(data.decode("utf-8", "replace"), KEYS)


@pytest.mark.parametrize("text", ["", "\n", "x", "a\n1\nAAAA\n", "a\n01\n" + "A" * 44 + "\n", "a\n-1\n\n", "\n1\n\n"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        Checkpoint.parse(text)


@given(text=st.text(max_size=80))
def test_reading_keys_and_notes_fails_with_our_errors_alone(text: str) -> None:
    with pytest.raises(UsageError):
        Verifier.parse(text)
    with pytest.raises(SignatureError):
        open_checkpoint(text, KEYS)


# -- witness files ------------------------------------------------------------------------------------


def visits(*sizes: int) -> str:
    """Return a witness file after visits at some sizes."""
    lines, known = [], 0
    for size in sizes:
        new = [entry.digest for entry in HISTORY[known:size]]
        lines.append(witness_line(known + 1, new, note(HISTORY[:size])))
        known = size
    return "".join(lines)


def test_a_witness_file_grows_by_a_line_a_visit() -> None:
    assert read_witness("", KEYS) == Witness()
    seen = read_witness(visits(4, 10, 23), KEYS)
    assert seen.digests == tuple(entry.digest for entry in HISTORY)
    assert seen.checkpoints == tuple(checkpoint(HISTORY[:size]) for size in (4, 10, 23))
    assert first_bad(HISTORY, seen.kept) is None
    assert first_bad(chain(23, forged=17), seen.kept) == 17


LINES = visits(4, 10, 23).splitlines(keepends=True)


@pytest.mark.parametrize(
    "text",
    [
        LINES[1],
        LINES[0] + LINES[2],
        LINES[0] + LINES[0],
        LINES[0] + LINES[1].rstrip("\n"),
        LINES[0].replace(HISTORY[1].digest, HISTORY[2].digest),
        LINES[0].replace(HISTORY[1].digest, HISTORY[1].digest[:-1]),
        LINES[0].replace("witness/1", "witness/2"),
        LINES[0].replace('"digests":[', '"digests":[7,'),
        LINES[0].replace('"checkpoint":', '"note":'),
        "[]\n",
        "x\n",
        "\n",
        witness_line(1, [HISTORY[0].digest], note(HISTORY[:1], OTHER)),
    ],
)
def test_a_witness_file_that_does_not_hold_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        read_witness(text, KEYS)


# -- exports ------------------------------------------------------------------------------------------


def test_an_export_is_read_back() -> None:
    text = "".join(export_lines(HISTORY, [note(HISTORY)]))
    export = read_export(text, "file")
    assert export.entries == tuple(HISTORY)
    assert export.notes == (note(HISTORY),)
    assert read_export("", "file").entries == ()


@pytest.mark.parametrize(
    ("line", "seq"),
    [("x", 2), ("[]", 2), ("{}", 2), ('{"seq": "1", "leaf": "", "digest": ""}', 2), ('{"checkpoint": 3}', 2)],
)
def test_what_is_no_export_is_refused_at_its_line(line: str, seq: int) -> None:
    text = next(export_lines(HISTORY, [])) + line + "\n"
    with pytest.raises(AuditError, match="is not an exported history") as caught:
        read_export(text, "file")
    assert caught.value.seq == seq


def test_nothing_comes_after_an_exported_checkpoint() -> None:
    lines = list(export_lines(HISTORY[:2], [note(HISTORY[:2])]))
    with pytest.raises(AuditError, match="is not an exported history"):
        read_export("".join([lines[0], lines[2], lines[1]]), "file")


# -- proofs -------------------------------------------------------------------------------------------


def proof(seq: int) -> Proof:
    path = inclusion_proof(seq - 1, len(HISTORY), subtree_over(hashes(HISTORY)))
    return Proof(HISTORY[seq - 1].leaf, seq - 1, len(HISTORY), tuple(path), note(HISTORY))


@pytest.mark.parametrize("seq", [1, 12, 23])
def test_a_proof_holds_after_it_was_written_and_read(seq: int) -> None:
    read = Proof.parse(json.dumps(proof(seq).to_json()))
    assert read == proof(seq)
    assert read.check(KEYS) == checkpoint(HISTORY)


CHANGES: dict[str, Callable[[Proof], Proof]] = {
    "leaf": lambda p: replace(p, leaf=p.leaf.replace("12", "13")),
    "index": lambda p: replace(p, index=p.index + 1),
    "size": lambda p: replace(p, size=p.size + 1),
    "path": lambda p: replace(p, path=p.path[::-1]),
    "another history": lambda p: replace(p, checkpoint=note(chain(23, forged=2))),
    "an older checkpoint": lambda p: replace(p, checkpoint=note(HISTORY[:20])),
    "another key": lambda p: replace(p, checkpoint=note(HISTORY, OTHER)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_proof_that_was_changed_does_not_hold(change: str) -> None:
    with pytest.raises(SignatureError):
        CHANGES[change](proof(12)).check(KEYS)


WRONG: tuple[dict[str, object], ...] = ({"schema": "x"}, {"index": "2"}, {"path": ["zz"]}, {"path": 3})


@pytest.mark.parametrize("text", ["", "{}", "[]", '"x"', *(json.dumps({**proof(3).to_json(), **w}) for w in WRONG)])
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        Proof.parse(text)


@given(text=st.text(max_size=60))
def test_reading_copies_fails_with_our_errors_alone(text: str) -> None:
    for read in (lambda: Proof.parse(text), lambda: read_witness(text, KEYS), lambda: read_export(text, "file")):
        try:
            read()
        except LedgerError:
            continue
