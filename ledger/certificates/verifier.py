"""Verify unledger certificates with only Python's standard library and ``cryptography``.

    python certificate_verifier.py CERTIFICATE.json ... --key KEY [--opening FILE] [--request N] [--weights FILE]

This one file is the whole verifier, so that whoever receives a certificate can copy it, read it and run it elsewhere;
``unledger certificate verify`` calls it too. For that reason it is longer than other modules and repeats a little of
them: it imports nothing of unledger, reads no database and opens no connection. It checks, in this order:

1. the envelope (DSSE v1): form, payload type, and an Ed25519 signature by the given key over the payload's bytes;
2. the statement (in-toto v1): its types, and that it names the log that the key belongs to;
3. the proof (C2SP tlog-proof): the log entry that records this envelope is in the tree of a checkpoint that the same
   key signed;
4. with an opening: that the statement commits to each class named in it.

Success means that the holder of the key made this statement and recorded it in the log. It does not mean that the
statement is true: the evidence in it has to show that.

Exit codes: 0 all certificates verify, 5 one does not, 2 the command line is invalid.
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "unledger.certificate/1"
OPENINGS_FORMAT = "unledger.openings/1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:unledger:certificate:v1"
CLAIM = "approximate unlearning with recorded evidence"
ISSUED = "certificate.issued"
"""The kind of log entry that records an envelope."""
PROOF_HEADER = "c2sp.org/tlog-proof@v1"
COMMITMENT = b"unledger class commitment v1\n"

LARGEST_FILE = 4_000_000
LARGEST_NUMBER = 2**53 - 1
"""JSON parsers disagree about whole numbers beyond it."""
HASH_BYTES = 32
ED25519 = b"\x01"
"""Signature type of the signed-note format."""
DASH = "\u2014 "
HEX = re.compile("[0-9a-f]{64}")


class RejectedError(Exception):
    """A certificate or opening does not verify. The text says why."""


@dataclass(frozen=True)
class Key:
    """A log's public key and the name it signs under: ``NAME+HASH+KEY``, as C2SP signed notes write it."""

    name: str
    public: bytes
    """Raw Ed25519 public key, 32 bytes."""

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read a verifier key.

        Raises:
            ValueError: It has another form, or its hash is not the key's.
        """
        name, _, rest = text.strip().partition("+")
        claimed, _, encoded = rest.partition("+")
        data = _base64(encoded, "the key") if encoded else b""
        key = cls(name, data[1:])
        if not name or len(data) != HASH_BYTES + 1 or data[:1] != ED25519 or key.hash.hex() != claimed:
            raise ValueError("this is not a verifier key: one reads NAME+HASH+KEY")
        return key

    @property
    def hash(self) -> bytes:
        """The 4 bytes that name the key in signature lines."""
        return hashlib.sha256(f"{self.name}\n".encode() + ED25519 + self.public).digest()[:4]

    @property
    def id(self) -> str:
        """The key's name in an envelope, ``NAME+HASH``."""
        return f"{self.name}+{self.hash.hex()}"

    def verify(self, message: bytes, signature: bytes, what: str) -> None:
        """Raise :class:`RejectedError` unless this key signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise RejectedError(
                f"the signature of {what} does not verify: it was altered, or the key is another"
            ) from None


@dataclass(frozen=True)
class Verified:
    """The contents of a certificate that verifies."""

    statement: dict[str, Any]
    request: int
    """Number of the request."""
    weights: str
    """SHA-256 of the weights file, in hexadecimal."""
    commitments: list[str]
    """Commitments to the classes that the request asked to forget, in hexadecimal."""
    envelope: str
    """SHA-256 of the envelope, as :func:`envelope_digest` computes it."""
    entry: int
    """Number of the log entry that records the envelope, from 1."""
    size: int
    """Number of entries in the tree of the proof."""

    def expect(self, *, request: int | None = None, weights: str | None = None) -> None:
        """Raise :class:`RejectedError` if the certificate is about another request or other weights."""
        if request is not None and request != self.request:
            raise RejectedError(f"it is about request {self.request}, not {request}")
        if weights is not None and weights != self.weights:
            raise RejectedError(f"it is about other weights, with the SHA-256 {self.weights}")


# -- shared by issuing and verifying ----------------------------------------------------------------


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature covers: type and payload, each with its length (DSSE v1, ``PAE``)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope_digest(envelope: dict[str, Any]) -> str:
    """Return the SHA-256 of an envelope's canonical JSON, in hexadecimal.

    An envelope contains ASCII text only, for which sorted keys without spaces are the canonical form of RFC 8785.
    """
    return hashlib.sha256(json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def commit(salt: bytes, index: int, label: str) -> str:
    """Return the commitment to a class, in hexadecimal.

    HMAC-SHA-256 under the salt (32 random bytes) of: the line ``unledger class commitment v1``, the class's index in
    decimal on a line, and its label in UTF-8, Unicode form NFC.

    Raises:
        ValueError: The salt has another length, or the label cannot be encoded.
    """
    if len(salt) != HASH_BYTES:
        raise ValueError("a salt has 32 bytes")
    message = COMMITMENT + f"{index}\n".encode() + unicodedata.normalize("NFC", label).encode()
    return hmac.digest(salt, message, "sha256").hex()


# -- verifying -----------------------------------------------------------------------------------------


def verify(data: bytes, key: Key) -> Verified:
    """Check a certificate file.

    Args:
        data: The file's bytes.
        key: The key of the log that should have issued it.

    Raises:
        RejectedError: Any part of it does not verify.
    """
    outer = _object(_json(data, "the certificate"), "the certificate", {"format", "envelope", "leaf", "proof"})
    if outer["format"] != FORMAT:
        raise RejectedError(f"the certificate is not of the format {FORMAT}")
    envelope, statement = _open_envelope(outer["envelope"], key)
    _check_statement(statement, key)
    digest = envelope_digest(envelope)
    leaf, proof = _text(outer["leaf"], "the log entry"), _text(outer["proof"], "the proof")
    entry, size = _check_entry(leaf, proof, key, digest, statement)
    request = statement["predicate"]["request"]
    weights = statement["subject"][0]["digest"]["sha256"]
    return Verified(statement, request["id"], weights, request["classes"], digest, entry, size)


def verify_opening(data: bytes, verified: Verified) -> list[tuple[int, str]]:
    """Verify an opening against a verified certificate; return index and label of each class.

    Raises:
        RejectedError: It is not an opening, belongs to another certificate, or opens none of its commitments.
    """
    outer = _object(_json(data, "the opening"), "the opening", {"format", "envelope", "classes"})
    if outer["format"] != OPENINGS_FORMAT:
        raise RejectedError(f"the opening is not of the format {OPENINGS_FORMAT}")
    if outer["envelope"] != verified.envelope:
        raise RejectedError("the opening belongs to another certificate")
    closed = set(verified.commitments)
    opened = []
    for number, item in enumerate(_list(outer["classes"], "classes"), 1):
        fields = _object(item, "a class of the opening", {"index", "label", "salt"})
        index, label = _whole(fields["index"], "index"), _text(fields["label"], "label")
        try:
            commitment = commit(bytes.fromhex(_text(fields["salt"], "salt")), index, label)
        except ValueError as error:
            raise RejectedError(f"class {number} of the opening is malformed: {error}") from None
        if commitment not in closed:
            raise RejectedError(f"class {number} of the opening is none that this certificate commits to")
        closed.remove(commitment)
        opened.append((index, label))
    if not opened:
        raise RejectedError("the opening names no class")
    return opened


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a leaf hash stands at ``index`` (from 0) of the Merkle tree with this size and root (RFC 6962).

    The path holds the hashes from the leaf's sibling up to the child of the root.
    """
    if not 0 <= index < size:
        return False
    # Up to this level the paths of this leaf and of the last leaf differ; above it, every sibling is on the left.
    inner = (index ^ (size - 1)).bit_length()
    if len(path) != inner + (index >> inner).bit_count():
        return False
    found = leaf
    for level, part in enumerate(path):
        left = level >= inner or index >> level & 1
        found = hashlib.sha256(b"\x01" + (part + found if left else found + part)).digest()
    return found == root


def _open_envelope(value: Any, key: Key) -> tuple[dict[str, Any], Any]:
    """Return the envelope and its payload. The payload is not parsed before its signature is verified."""
    envelope = _object(value, "the envelope", {"payload", "payloadType", "signatures"})
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise RejectedError(f"the envelope's payload is not of the type {PAYLOAD_TYPE}")
    payload = _base64(envelope["payload"], "payload")
    signatures = _list(envelope["signatures"], "signatures")
    if len(signatures) != 1:
        raise RejectedError("the envelope must carry one signature")
    signature = _object(signatures[0], "the signature", {"keyid", "sig"})
    if signature["keyid"] != key.id:
        raise RejectedError(f"the certificate names another key than the given one, which is {key.id}")
    key.verify(pae(PAYLOAD_TYPE, payload), _base64(signature["sig"], "sig"), "the envelope")
    return envelope, _json(payload, "the statement")


def _check_statement(value: Any, key: Key) -> None:
    statement = _object(value, "the statement", {"_type", "subject", "predicateType", "predicate"})
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise RejectedError("the statement is of another type: it was signed for another purpose")
    subjects = _list(statement["subject"], "subject")
    if len(subjects) != 1:
        raise RejectedError("the statement must be about one file of weights")
    digest = _member(_member(subjects[0], "digest"), "sha256")
    predicate = statement["predicate"]
    request = _member(predicate, "request")
    commitments = _list(_member(request, "classes"), "classes")
    for text in [digest, *commitments]:
        if not isinstance(text, str) or not HEX.fullmatch(text):
            raise RejectedError("the statement holds a malformed digest")
    if not commitments or len(set(commitments)) != len(commitments):
        raise RejectedError("the statement must commit to each class once")
    if _member(predicate, "claim") != CLAIM:
        raise RejectedError("the statement claims something else")
    if _member(predicate, "log") != key.name:
        raise RejectedError("the statement belongs to another log than the key")
    _whole(_member(request, "id"), "request")
    _whole(_member(_member(predicate, "version"), "number"), "version")
    _text(_member(_member(predicate, "version"), "model"), "model")
    _text(_member(predicate, "issuedAt"), "issuedAt")


def _check_entry(leaf: str, proof: str, key: Key, digest: str, statement: dict[str, Any]) -> tuple[int, int]:
    """Check that the log records this envelope; return the entry's number and the size of the proof's tree."""
    index, path, note = _parse_proof(proof)
    size, root = _open_checkpoint(note, key)
    hashed = hashlib.sha256(b"\x00" + _encoded(leaf, "the log entry")).digest()
    if not included(hashed, index, size, path, root):
        raise RejectedError("the proof does not show that the log holds this entry")
    entry = _json(leaf.encode(), "the log entry")
    predicate = statement["predicate"]
    version = predicate["version"]
    recorded = [_member(entry, name) for name in ("kind", "seq", "at", "request", "model")]
    recorded += [_member(_member(entry, "data"), name) for name in ("envelope", "version")]
    expected = [ISSUED, index + 1, predicate["issuedAt"], predicate["request"]["id"], version["model"]]
    expected += [digest, version["number"]]
    # Compared as JSON: in Python, 1, 1.0 and True are equal.
    if json.dumps(recorded) != json.dumps(expected):
        raise RejectedError("the log entry records something other than this certificate")
    return index + 1, size


def _parse_proof(text: str) -> tuple[int, list[bytes], str]:
    """Return index, path and checkpoint of a C2SP ``tlog-proof`` without extra data."""
    head, separator, note = text.partition("\n\n")
    header, *rest = head.split("\n")
    index = rest[0].removeprefix("index ") if rest else ""
    if not separator or header != PROOF_HEADER or not rest or rest[0] == index:
        raise RejectedError(f"the proof is not of the format {PROOF_HEADER}")
    path = [_base64(line, "the proof") for line in rest[1:]]
    if any(len(part) != HASH_BYTES for part in path):
        raise RejectedError("the proof holds something other than SHA-256 hashes")
    return _decimal(index, "the proof's index"), path, note


def _open_checkpoint(note: str, key: Key) -> tuple[int, bytes]:
    """Return size and root of a checkpoint that the key signed. Lines by other keys are ignored, as C2SP asks."""
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    if not separator or not signatures.endswith("\n"):
        raise RejectedError("the proof ends in no signed checkpoint")
    signed = False
    for line in signatures[:-1].split("\n"):
        name, space, encoded = line.removeprefix(DASH).partition(" ")
        data = _base64(encoded, "the checkpoint's signature")
        if not line.startswith(DASH) or not name or not space or len(data) <= len(key.hash):
            raise RejectedError("a signature line of the checkpoint is malformed")
        if (name, data[:4]) == (key.name, key.hash):
            key.verify(_encoded(text, "the checkpoint"), data[4:], "the checkpoint")
            signed = True
    lines = text.split("\n")
    if not signed:
        raise RejectedError("the checkpoint is not signed by the given key")
    if len(lines) < 4 or lines[0] != key.name:
        raise RejectedError("the checkpoint is of another log")
    root = _base64(lines[2], "the checkpoint's root")
    if len(root) != HASH_BYTES:
        raise RejectedError("the checkpoint's root is not a SHA-256 hash")
    return _decimal(lines[1], "the checkpoint's size"), root


# -- parsing untrusted input ---------------------------------------------------


def _json(data: bytes, what: str) -> Any:
    """Parse strict JSON: UTF-8, no duplicate names, no numbers that parsers disagree about."""
    if len(data) > LARGEST_FILE:
        raise RejectedError(f"{what} is too large")
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_pairs, parse_int=_int, parse_float=_float, parse_constant=_constant
        )
    except ValueError as error:
        raise RejectedError(f"{what} is not strict JSON: {error}") from None
    except RecursionError:
        raise RejectedError(f"{what} is nested too deeply") from None


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a name occurs twice in one object")
    return found


def _int(text: str) -> int:
    # The length is checked first: converting a very long text takes long.
    if len(text) > len(str(-LARGEST_NUMBER)) or abs(int(text)) > LARGEST_NUMBER:
        raise ValueError("a number is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise ValueError("a number is too large")
    return value


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _object(value: Any, what: str, names: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != names:
        raise RejectedError(f"{what} must be an object of {', '.join(sorted(names))}")
    return value


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise RejectedError(f"{name} is missing")
    return value[name]


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise RejectedError(f"{what} must be a list")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise RejectedError(f"{what} must be a text")
    return value


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RejectedError(f"{what} holds half a character") from None


def _whole(value: Any, what: str) -> int:
    if type(value) is not int or value < 0:
        raise RejectedError(f"{what} must be a whole number")
    return value


def _decimal(text: str, what: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,14}", text):
        raise RejectedError(f"{what} is no plain number")
    return int(text)


def _base64(value: Any, what: str) -> bytes:
    """Decode base64 in its canonical form only, so that a certificate cannot be written in two ways."""
    text = _text(value, what)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not text or base64.b64encode(data).decode() != text:
        raise RejectedError(f"{what} is not base64")
    return data


# -- command line --------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the files named on the command line and return the exit code."""
    parser = argparse.ArgumentParser(description="Verify unledger certificates offline.")
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="certificate files")
    parser.add_argument("--key", required=True, help="verifier key of the log, NAME+HASH+KEY, got from its keeper")
    parser.add_argument("--opening", type=Path, metavar="FILE", help="opening of the one certificate named")
    parser.add_argument("--request", type=int, metavar="N", help="the request it must be about")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the weights it must be about")
    asked = parser.parse_args(arguments)
    if asked.opening is not None and len(asked.files) > 1:
        parser.error("an opening belongs to one certificate")
    if any(path.is_fifo() or path.is_char_device() for path in (asked.opening, asked.weights, *asked.files) if path):
        parser.error("cannot read a pipe or a device")
    try:
        key = Key.parse(asked.key)
        opening = None if asked.opening is None else asked.opening.read_bytes().removeprefix(b"\xef\xbb\xbf")
        weights = None if asked.weights is None else file_digest(asked.weights)
        contents = [(path, path.read_bytes().removeprefix(b"\xef\xbb\xbf")) for path in asked.files]
    except OSError as error:
        parser.error(f"cannot read {error.filename}: {error.strerror}")
    except (ValueError, RejectedError) as error:
        parser.error(str(error))
    rejected = 0
    for path, data in contents:
        try:
            verified = verify(data, key)
            verified.expect(request=asked.request, weights=weights)
            opened = None if opening is None else verify_opening(opening, verified)
        except RejectedError as error:
            rejected += 1
            print(visible(f"rejected: {path}: {error}"), file=sys.stderr)  # noqa: T201 - its output
        else:
            print("\n  ".join(map(visible, [f"ok: {path}", *_summary(verified, opened)])))  # noqa: T201
    return 5 if rejected else 0


def _summary(verified: Verified, opened: Sequence[tuple[int, str]] | None) -> list[str]:
    """Return a few lines that say what a certificate states."""
    predicate = verified.statement["predicate"]
    unknown, classes = predicate["request"].get("notKnownBefore"), len(verified.commitments)
    before = f"was not known before: {unknown} of {classes} classes, nothing forgotten of them; " if unknown else ""
    named = f"{classes}, not named" if opened is None else ", ".join(f"{label} (index {k})" for k, label in opened)
    return [
        f"{before}request {verified.request} of {predicate['log']}: {CLAIM}",
        f"weights sha256:{verified.weights} ({predicate['version']['model']}:{predicate['version']['number']})",
        f"issued {predicate['issuedAt']} as entry {verified.entry}; proven in a tree of {verified.size}",
        f"classes: {named}",
    ]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def visible(text: str) -> str:
    """Replace characters that could control a terminal by their codes."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


if __name__ == "__main__":
    sys.exit(main())
