"""What the verifier of certificates accepts, and that nothing else passes, however it is bent."""

from __future__ import annotations

import base64
import json
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.audit.merkle import inclusion_proof, leaf_hash, tree_root, verify_inclusion
from ledger.audit.signed_notes import Verifier
from ledger.certificates.files import check_certificate, check_opening
from ledger.certificates.verifier import Key, RejectedError, included, main, pae, verify, verify_opening, visible
from ledger.errors import SignatureError
from tests.unit.certificates.drafts import Drafts, new_signer
from tests.unit.merkle_trees import subtree_over

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.certificates.drafts import Draft

FUZZ = int(os.environ.get("UNLEDGER_FUZZ", "300"))
"""Inputs for each fuzz test; set it higher for a long run."""
DEEP = 100_000


def rejected(data: bytes, draft: Draft, match: str) -> None:
    """Check that a file is rejected for one reason, with our error on both sides of the boundary."""
    with pytest.raises(RejectedError, match=match):
        verify(data, draft.key)
    with pytest.raises(SignatureError, match=match):
        check_certificate(data, draft.signer.verifier)


def dumped(document: Any) -> bytes:
    """Return a document as a file."""
    return json.dumps(document).encode()


# -- what holds ---------------------------------------------------------------------------------------


def test_a_certificate_verifies_and_says_what_it_is_about(draft: Drafts) -> None:
    made = draft(classes=((3, "cat"), (5, "dog")))
    verified = check_certificate(made.file, made.signer.verifier)
    assert verified.request == 12
    assert verified.weights == "ab" * 32
    assert (verified.entry, verified.size) == (4, 6)
    assert sorted(check_opening(made.opening, verified)) == [(3, "cat"), (5, "dog")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9])
def test_it_verifies_wherever_the_entry_stands(draft: Drafts, size: int) -> None:
    for index in range(size):
        made = draft().evolve(before=("x",) * index, after=("y",) * (size - index - 1))
        assert (verify(made.file, made.key).entry, verify(made.file, made.key).size) == (index + 1, size)


def test_json_may_be_laid_out_anyhow(draft: Drafts) -> None:
    made = draft()
    assert verify(json.dumps(made.parts, separators=(",", ":"), sort_keys=True).encode(), made.key).request == 12
    assert verify(b" \n" + made.file.replace(b"\n", b"\r\n"), made.key).request == 12


def test_signatures_by_witnesses_are_let_be(draft: Drafts) -> None:
    made = draft()
    witness = new_signer(9, "witness.example")
    parts = made.parts
    note = parts["proof"].partition("\n\n")[2]
    text = note.rpartition("\n\n")[0] + "\n"
    seal = base64.b64encode(witness.verifier.key_hash + witness.sign(text.encode())).decode()
    parts["proof"] += f"\u2014 witness.example {seal}\n"
    assert verify(dumped(parts), made.key).request == 12


def test_the_signature_is_over_lengths_types_and_bytes() -> None:
    # The example of the DSSE specification.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"\xff") == b"DSSEv1 2 \xc3\xa9 1 \xff"


# -- keys ---------------------------------------------------------------------------------------------


def test_the_key_reads_and_writes_as_the_log_writes_it() -> None:
    verifier = new_signer(1).verifier
    key = Key.parse(f" {verifier}\n")
    assert (key.name, key.public, key.hash) == (verifier.name, verifier.key, verifier.key_hash)


@given(text=st.text(max_size=80) | st.from_regex(r"a\+[0-9a-f]{8}\+[A-Za-z0-9+/]{0,50}=?", fullmatch=True))
def test_nothing_else_reads_as_a_key(text: str) -> None:
    with pytest.raises((ValueError, RejectedError)):
        Key.parse(text)


def test_another_key_verifies_nothing(draft: Drafts) -> None:
    made = draft()
    other = new_signer(2)
    with pytest.raises(RejectedError, match="names another key"):
        verify(made.file, Key(other.name, other.verifier.key))
    # The same with the key's name and hash put right, which anybody can.
    parts = made.parts
    parts["envelope"]["signatures"][0]["keyid"] = made.evolve(signer=other).key.id
    with pytest.raises(RejectedError, match="signature of the envelope"):
        verify(dumped(parts), Key(other.name, other.verifier.key))
    with pytest.raises(RejectedError, match="names another key"):
        verify(made.file, Key("unledger/other", made.key.public))


def test_a_key_that_is_no_point_of_the_curve_verifies_nothing(draft: Drafts) -> None:
    made = draft()
    parts = made.parts
    broken = Key(made.key.name, b"\x02" + bytes(31))
    parts["envelope"]["signatures"][0]["keyid"] = broken.id
    with pytest.raises(RejectedError, match="signature of the envelope"):
        verify(dumped(parts), broken)


# -- forgeries by somebody without the key ------------------------------------------------------------


def _payload(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def bend(parts: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(parts["envelope"]["payload"]))
        change(statement)
        parts["envelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return bend


@pytest.mark.parametrize(
    ("bend", "match"),
    [
        (_payload(lambda s: s["predicate"]["request"].update(id=13)), "signature of the envelope"),
        (_payload(lambda s: s["subject"][0]["digest"].update(sha256="cd" * 32)), "signature of the envelope"),
        (_payload(lambda s: None), "signature of the envelope"),
        (lambda p: p["envelope"].update(payloadType="application/json"), "payload is not of the type"),
        (lambda p: p["envelope"]["signatures"][0].update(sig=base64.b64encode(bytes(64)).decode()), "signature of"),
        (lambda p: p["envelope"]["signatures"][0].update(sig="AAAA"), "signature of"),
        (lambda p: p["envelope"]["signatures"][0].update(sig=""), "is not base64"),
        (lambda p: p["envelope"]["signatures"][0].update(sig=None), "must be a text"),
        (lambda p: p["envelope"]["signatures"][0].update(extra=1), "must be an object of"),
        (lambda p: p["envelope"]["signatures"].clear(), "must carry one signature"),
        (lambda p: p["envelope"]["signatures"].append(p["envelope"]["signatures"][0]), "must carry one signature"),
        (lambda p: p["envelope"].update(payload=p["envelope"]["payload"] + "\n"), "is not base64"),
        (lambda p: p["envelope"].update(note="x"), "must be an object of"),
        (lambda p: p.update(envelope=[]), "must be an object of"),
        (lambda p: p.update(format="unledger.certificate/2"), "not of the format"),
        (lambda p: p.update(extra=1), "must be an object of"),
        (lambda p: p.pop("proof"), "must be an object of"),
        (lambda p: p.update(leaf=p["leaf"].replace('"request":12', '"request":13')), "does not show"),
        (lambda p: p.update(leaf=p["leaf"] + " "), "does not show"),
        (lambda p: p.update(leaf="\ud800"), "half a character"),
        (lambda p: p.update(leaf=7), "must be a text"),
        (lambda p: p.update(proof=p["proof"].replace("index 3", "index 2")), "does not show"),
        (lambda p: p.update(proof=p["proof"].replace("index 3", "index 03")), "no plain number"),
        (lambda p: p.update(proof=p["proof"].replace("index 3", "index ٣")), "no plain number"),
        (lambda p: p.update(proof=p["proof"].replace("index 3", "index -3")), "no plain number"),
        (lambda p: p.update(proof=p["proof"].replace("index 3", f"index {10**40}")), "no plain number"),
        (lambda p: p.update(proof=p["proof"].replace("index 3\n", "index 3\nAAAA\n")), "other than SHA-256"),
        (lambda p: p.update(proof=p["proof"].replace("@v1", "@v2")), "not of the format"),
        (lambda p: p.update(proof=p["proof"].replace("index 3", "extra AAAA\nindex 3")), "not of the format"),
        (lambda p: p.update(proof=p["proof"].replace("\n6\n", "\n7\n")), "signature of the checkpoint"),
        (lambda p: p.update(proof=p["proof"].partition("\n\n")[0]), "not of the format"),
        (lambda p: p.update(proof=p["proof"].rpartition("\n\n")[0] + "\n"), "ends in no signed checkpoint"),
        (lambda p: p.update(proof=p["proof"][:-1]), "ends in no signed checkpoint"),
        (lambda p: p.update(proof=p["proof"].replace("\u2014", "-")), "checkpoint.s signature"),
        (lambda p: p.update(proof=p["proof"].replace("\u2014 unledger/", "\u2014 other/")), "not signed by"),
        (lambda p: p.update(proof=[]), "must be a text"),
    ],
)
def test_a_bent_certificate_is_rejected(draft: Drafts, bend: Callable[[dict[str, Any]], None], match: str) -> None:
    made = draft()
    parts = made.parts
    bend(parts)
    rejected(dumped(parts), made, match)


@pytest.mark.parametrize("part", ["envelope", "leaf", "proof"])
def test_a_part_of_another_certificate_does_not_fit(draft: Drafts, part: str) -> None:
    made, other = draft(request=12), draft(request=13).evolve(before=("something", "else"))
    verify(other.file, made.key)
    rejected(dumped(made.parts | {part: other.parts[part]}), made, "does not show|records something other")


def test_entry_and_proof_of_another_certificate_do_not_fit(draft: Drafts) -> None:
    made, other = draft(request=12), draft(request=13)
    swapped = made.parts | {part: other.parts[part] for part in ("leaf", "proof")}
    rejected(dumped(swapped), made, "records something other")


# -- what the key signed, but for another purpose, or in contradiction to the log ---------------------


@pytest.mark.parametrize(
    ("bend", "match"),
    [
        (lambda d: d.evolve(payload_type="application/json"), "payload is not of the type"),
        (lambda d: d.stating(predicateType="https://slsa.dev/provenance/v1"), "of another type"),
        (lambda d: d.stating(predicateType="urn:unledger:certificate:v2"), "of another type"),
        (lambda d: d.stating(_type="https://in-toto.io/Statement/v0.1"), "of another type"),
        (lambda d: d.stating(subject=[]), "about one file"),
        (lambda d: d.stating(subject=d.statement["subject"] * 2), "about one file"),
        (lambda d: d.stating(subject=[{"digest": {"sha1": "ab"}}]), "sha256 is missing"),
        (lambda d: d.stating(subject=[{"digest": {"sha256": "AB" * 32}}]), "malformed digest"),
        (lambda d: d.stating(predicate=[]), "request is missing"),
        (lambda d: d.predicate(claim="certified deletion"), "claims something else"),
        (lambda d: d.predicate(log="unledger/other"), "another log"),
        (lambda d: d.predicate(request={"id": 12, "classes": []}), "commit to each class once"),
        (lambda d: d.predicate(request={"id": 12, "classes": ["ab" * 32] * 2}), "commit to each class once"),
        (lambda d: d.predicate(request={"id": 12, "classes": ["cat"]}), "malformed digest"),
        (lambda d: d.predicate(request={"id": 12, "classes": [3]}), "malformed digest"),
        (lambda d: d.predicate(request={"id": "12", "classes": ["ab" * 32]}), "whole number"),
        (lambda d: d.predicate(request={"id": True, "classes": ["ab" * 32]}), "whole number"),
        (lambda d: d.predicate(version={"model": "pets", "number": 1.5}), "whole number"),
        (lambda d: d.predicate(version={"model": 7, "number": 1}), "must be a text"),
        (lambda d: d.predicate(issuedAt=None), "must be a text"),
        (lambda d: d.recording(kind="request.fulfilled"), "records something other"),
        (lambda d: d.recording(request=13), "records something other"),
        (lambda d: d.recording(model="cars"), "records something other"),
        (lambda d: d.recording(at="2026-01-05T09:00:01+00:00"), "records something other"),
        (lambda d: d.recording(seq=5), "records something other"),
        (lambda d: d.recording(data={"version": 2}), "records something other"),
        (lambda d: d.recording(data={"version": True}), "records something other"),
        (lambda d: d.recording(data={}), "version is missing"),
        (lambda d: d.recording(data={"version": 1, "envelope": "ab" * 32}), "records something other"),
        (lambda d: d.evolve(log_signer=new_signer(2)), "not signed by"),
        (lambda d: d.evolve(log_signer=new_signer(1, "unledger/other")), "not signed by"),
    ],
)
def test_what_was_signed_for_something_else_is_rejected(
    draft: Drafts, bend: Callable[[Draft], Draft], match: str
) -> None:
    made = bend(draft())
    rejected(made.file, made, match)


def test_a_signed_checkpoint_does_not_pass_for_a_signed_statement(draft: Drafts) -> None:
    # The same key signs both.
    made = draft()
    parts = made.parts
    note = parts["proof"].partition("\n\n")[2]
    text, _, signatures = note.rpartition("\n\n")
    signature = base64.b64decode(signatures.split(" ")[-1])[4:]
    assert made.signer.verifier.accepts(f"{text}\n".encode(), signature)
    parts["envelope"]["payload"] = base64.b64encode(f"{text}\n".encode()).decode()
    parts["envelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    rejected(dumped(parts), made, "signature of the envelope")


# -- files that are no certificate --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "not strict JSON"),
        (b"null", "must be an object of"),
        (b"\xff\xfe", "not strict JSON"),
        ("{}".encode("utf-16"), "not strict JSON"),
        (b"\xef\xbb\xbf{}", "not strict JSON"),
        (b'{"format": NaN}', "no JSON"),
        (b'{"format": -Infinity}', "no JSON"),
        (b'{"format": 1e999}', "too large"),
        (b'{"format": ' + b"9" * 100_000 + b"}", "too large"),
        (b'{"format": 9007199254740992}', "too large"),
        (b'{"format": -9007199254740992}', "too large"),
        (b"[" * DEEP + b"]" * DEEP, "nested too deeply"),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested too deeply"),
        (b'"' + b"x" * 4_000_000 + b'"', "too large"),
        (b'{"format": 1, "format": 1}', "occurs twice"),
    ],
)
def test_what_is_no_certificate_is_rejected(draft: Drafts, data: bytes, match: str) -> None:
    rejected(data, draft(), match)


def test_a_name_that_occurs_twice_is_rejected_at_any_depth(draft: Drafts) -> None:
    made = draft()
    rejected(made.file.replace(b'"sig"', b'"keyid": "x", "sig"'), made, "occurs twice")
    payload = base64.b64decode(made.envelope["payload"]).replace(b'"id":12', b'"id":13,"id":12')
    seal = base64.b64encode(made.signer.sign(pae(made.payload_type, payload))).decode()
    parts = made.parts
    parts["envelope"]["payload"] = base64.b64encode(payload).decode()
    parts["envelope"]["signatures"][0]["sig"] = seal
    rejected(dumped(parts), made, "the statement is not strict JSON: a name occurs twice")


def test_no_truncated_file_verifies(draft: Drafts) -> None:
    made = draft()
    for length in range(0, len(made.file) - 2, 7):
        with pytest.raises(RejectedError):
            verify(made.file[:length], made.key)


@settings(max_examples=FUZZ)
@given(data=st.data())
def test_no_altered_byte_goes_unnoticed(data: st.DataObject) -> None:
    made = Drafts()()
    intact, file = verify(made.file, made.key), bytearray(made.file)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(file) - 1))
        file[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    # Space between JSON tokens may change: it says nothing.
    try:
        found = verify(bytes(file), made.key)
    except RejectedError:
        return
    assert found == intact
    assert json.loads(bytes(file)) == made.parts


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=FUZZ)
@given(data=st.data())
def test_documents_of_any_shape_end_in_our_error(data: st.DataObject) -> None:
    made = Drafts()()
    parts: Any = made.parts
    path: list[Any] = []
    node = parts
    while isinstance(node, dict | list) and node and data.draw(st.booleans()):
        path.append(data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node)))))
        node = node[path[-1]]
    value = data.draw(json_values)
    if not path:
        parts = value
    else:
        parent = parts
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = value
    with pytest.raises(RejectedError):
        verify(dumped(parts), made.key)


@settings(max_examples=FUZZ)
@given(data=st.data())
def test_statements_of_any_shape_end_in_our_error(data: st.DataObject) -> None:
    # Signed by the right key: a signer gone wrong must not make the verifier fail in another way.
    made = Drafts()()
    statement: Any = json.loads(json.dumps(made.statement))
    node: Any = statement
    while True:
        step = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[step], dict | list) or not node[step] or data.draw(st.booleans()):
            break
        node = node[step]
    old, node[step] = node[step], data.draw(json_values)
    payload = dumped(statement)
    parts = made.parts
    parts["envelope"]["payload"] = base64.b64encode(payload).decode()
    seal = made.signer.sign(pae(made.payload_type, payload))
    parts["envelope"]["signatures"][0]["sig"] = base64.b64encode(seal).decode()
    with pytest.raises(RejectedError):
        verify(dumped(parts), made.key)
    assert old is not node


# -- openings -----------------------------------------------------------------------------------------


def test_one_class_can_be_opened_without_the_others(draft: Drafts) -> None:
    made = draft(classes=((3, "cat"), (5, "dog")))
    document = json.loads(made.opening)
    document["classes"] = [item for item in document["classes"] if item["label"] == "dog"]
    assert verify_opening(dumped(document), verify(made.file, made.key)) == [(5, "dog")]


def test_a_label_opens_in_either_unicode_form(draft: Drafts) -> None:
    made = draft(classes=((0, "Zoe\u0308"),))
    verified = verify(made.file, made.key)
    for label in ("Zoe\u0308", "Zo\u00eb"):
        document = json.loads(made.opening)
        document["classes"][0]["label"] = label
        assert verify_opening(dumped(document), verified) == [(0, label)]


@pytest.mark.parametrize(
    ("bend", "match"),
    [
        (lambda d: d["classes"][0].update(label="dog"), "none that this certificate commits to"),
        (lambda d: d["classes"][0].update(index=5), "none that this certificate commits to"),
        (lambda d: d["classes"][0].update(salt="00" * 32), "none that this certificate commits to"),
        (lambda d: d["classes"][0].update(salt="00" * 31), "32 bytes"),
        (lambda d: d["classes"][0].update(salt="zz"), "malformed"),
        (lambda d: d["classes"][0].update(label="\ud800"), "malformed"),
        (lambda d: d["classes"][0].update(label=None), "must be a text"),
        (lambda d: d["classes"][0].update(index=-1), "whole number"),
        (lambda d: d["classes"].append(d["classes"][0]), "none that this certificate commits to"),
        (lambda d: d["classes"].clear(), "names no class"),
        (lambda d: d.update(envelope="ab" * 32), "another certificate"),
        (lambda d: d.update(format="x"), "not of the format"),
        (lambda d: d.update(classes={}), "must be a list"),
    ],
)
def test_a_false_opening_is_rejected(draft: Drafts, bend: Callable[[dict[str, Any]], None], match: str) -> None:
    made = draft()
    document = json.loads(made.opening)
    bend(document)
    verified = check_certificate(made.file, made.signer.verifier)
    with pytest.raises(SignatureError, match=match):
        check_opening(dumped(document), verified)


@settings(max_examples=FUZZ)
@given(data=st.binary(max_size=60) | json_values.map(dumped))
def test_an_opening_of_any_shape_ends_in_our_error(data: bytes) -> None:
    made = Drafts()()
    with pytest.raises(RejectedError):
        verify_opening(data, verify(made.file, made.key))


# -- the tree -----------------------------------------------------------------------------------------


def test_both_checks_of_inclusion_agree_on_every_proof_of_small_trees() -> None:
    for size in range(1, 34):
        leaves = [leaf_hash(bytes([k])) for k in range(size)]
        root = tree_root(leaves)
        for index in range(size):
            proof = inclusion_proof(index, size, subtree_over(leaves))
            assert included(leaves[index], index, size, proof, root)
            for claimed in range(-1, size + 1):
                right = claimed == index
                assert verify_inclusion(leaves[index], claimed, size, proof, root) is right
                assert included(leaves[index], claimed, size, proof, root) is right
            for wrong in (size - 1, size + 1, 2 * size):
                expected = verify_inclusion(leaves[index], index, wrong, proof, root)
                assert included(leaves[index], index, wrong, proof, root) is expected


@settings(max_examples=FUZZ)
@given(data=st.data())
def test_both_checks_of_inclusion_agree_on_mutated_proofs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    leaves = [leaf_hash(struct.pack(">I", k)) for k in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, subtree_over(leaves))
    root, leaf, claimed, of = tree_root(leaves), leaves[index], index, size
    for kind in data.draw(st.lists(st.sampled_from("fdistalr"), min_size=1, max_size=3)):
        place = data.draw(st.integers(0, max(0, len(proof) - 1)))
        if kind == "f" and proof:
            bit = data.draw(st.integers(0, 255))
            proof[place] = (int.from_bytes(proof[place]) ^ (1 << bit)).to_bytes(32)
        elif kind == "d" and proof:
            del proof[place]
        elif kind == "i":
            proof.insert(place, data.draw(st.sampled_from([root, leaf, bytes(32)])))
        elif kind == "s" and proof:
            proof[place], proof[-1] = proof[-1], proof[place]
        elif kind == "t":
            of = data.draw(st.integers(0, 140))
        elif kind == "a":
            claimed = data.draw(st.integers(-1, 140))
        elif kind == "l":
            leaf = data.draw(st.sampled_from(leaves))
        elif kind == "r":
            root = tree_root(leaves[: data.draw(st.integers(1, size))])
    assert included(leaf, claimed, of, proof, root) is verify_inclusion(leaf, claimed, of, proof, root)


# -- command line -------------------------------------------------------------------------------------


@pytest.fixture
def written(draft: Drafts, tmp_path: Path) -> tuple[str, Path, Path]:
    """A key, a certificate and its opening, as files."""
    made = draft()
    certificate, opening = tmp_path / "certificate.json", tmp_path / "openings.json"
    certificate.write_bytes(made.file)
    opening.write_bytes(made.opening)
    return str(made.signer.verifier), certificate, opening


def test_the_command_line_says_what_verifies(
    written: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    key, certificate, opening = written
    assert main([str(certificate), str(certificate), "--key", key]) == 0
    said = capsys.readouterr().out
    assert said.count("request 12") == 2
    assert "cat (index" not in said
    assert main([str(certificate), "--key", key, "--opening", str(opening)]) == 0
    assert "classes: cat (index 3)" in capsys.readouterr().out


def test_the_command_line_checks_what_is_expected(
    written: tuple[str, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, certificate, _ = written
    weights = tmp_path / "weights"
    weights.write_bytes(b"others")
    assert main([str(certificate), "--key", key, "--request", "12"]) == 0
    assert main([str(certificate), "--key", key, "--request", "13"]) == 5
    assert "about request 12, not 13" in capsys.readouterr().err
    assert main([str(certificate), "--key", key, "--weights", str(weights)]) == 5
    assert "about other weights" in capsys.readouterr().err


def test_a_certificate_must_be_about_what_is_expected(draft: Drafts) -> None:
    made = draft()
    check_certificate(made.file, made.signer.verifier, request=12, weights="ab" * 32)
    with pytest.raises(SignatureError, match="about request 12, not 13"):
        check_certificate(made.file, made.signer.verifier, request=13)
    with pytest.raises(SignatureError, match="about other weights"):
        check_certificate(made.file, made.signer.verifier, weights="cd" * 32)


def test_the_command_line_rejects_with_five(
    written: tuple[str, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, certificate, _ = written
    forged = tmp_path / "forged.json"
    forged.write_bytes(certificate.read_bytes().replace(b'"proof": "c2sp', b'"proof": "x'))
    assert main([str(certificate), str(forged), "--key", key]) == 5
    said = capsys.readouterr()
    assert "ok: " in said.out
    assert f"rejected: {forged}" in said.err
    assert main([str(certificate), "--key", key, "--opening", str(certificate)]) == 5


@pytest.mark.parametrize("key", ["", "x", "a+00000000+AAAA", None])
def test_the_command_line_refuses_nonsense_with_two(written: tuple[str, Path, Path], key: str | None) -> None:
    good, certificate, opening = written
    calls = (
        [[str(certificate), "--key", key]]
        if key is not None
        else [
            [str(certificate)],
            [],
            [str(certificate) + "x", "--key", good],
            [str(certificate), "--key", good, "--weights", str(certificate) + "x"],
            [str(certificate), str(certificate), "--key", good, "--opening", str(opening)],
        ]
    )
    for call in calls:
        with pytest.raises(SystemExit) as stopped:
            main(call)
        assert stopped.value.code == 2


def test_a_terminal_is_never_given_orders() -> None:
    assert visible("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\x0ab\\x202e"


def test_verifier_keys_are_the_ones_that_notes_use(draft: Drafts) -> None:
    made = draft()
    assert Verifier.parse(str(made.signer.verifier)) == made.signer.verifier
    assert Key.parse(str(made.signer.verifier)) == made.key
