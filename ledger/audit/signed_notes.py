"""Signed checkpoints (signed tree heads) of the audit log, in the C2SP formats ``signed-note`` and ``tlog-checkpoint``.

    unledger/ledger-name          origin: the name of the log
    42                            number of entries
    qcu1m...=                     the tree's root, base64
                                  (empty line)
    — unledger/ledger-name Az3grl...   signature: base64 of a 4-byte key hash and the Ed25519 signature

A copy of such a note proves later that the log was cut or rewritten. Only ``cryptography`` is needed to check it.

Source: https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import SignatureError, UsageError

ED25519 = b"\x01"
"""Signature type of the signed-note format."""
SIGNATURE_PREFIX = "\u2014 "
"""Start of a signature line: an em dash and a space."""
HASH_BYTES = 32
LONGEST_NOTE = 100_000
"""In characters; a checkpoint has a few hundred."""


@dataclass(frozen=True)
class Verifier:
    """A public key with the name it signs under."""

    name: str
    key: bytes
    """Raw Ed25519 public key, 32 bytes."""

    @property
    def key_hash(self) -> bytes:
        """The 4 bytes that name the key in a signature line."""
        return hashlib.sha256(f"{self.name}\n".encode() + ED25519 + self.key).digest()[:4]

    def __str__(self) -> str:
        return write_key(self.name, self.key_hash, self.key)

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Read a verifier key, ``NAME+HASH+BASE64``.

        Raises:
            UsageError: The text has another form, or its hash does not match the key.
        """
        try:
            name, claimed, key = read_key(text)
        except ValueError:
            name, claimed, key = "", "", b""
        verifier = cls(name, key)
        if not name or verifier.key_hash.hex() != claimed:
            raise UsageError(f"{text!r} is not a verifier key", "it reads NAME+HASH+KEY, as audit key prints it")
        return verifier

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature over a message was made with this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key with the name it signs under."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature over a message, 64 bytes."""
        return self.private.sign(message)


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log at one time: its size and the root of its Merkle tree."""

    origin: str
    """Name of the log."""
    size: int
    """Number of entries."""
    root: bytes
    """Root of the Merkle tree over them, 32 bytes."""

    def text(self) -> str:
        """Return the note's text, without signatures."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a note's text; extension lines after the third are allowed and ignored.

        Raises:
            SignatureError: The text is not a checkpoint.
        """
        lines = text.split("\n")
        try:
            origin, size, root = lines[:3]
            decoded = base64.b64decode(root, validate=True)
        except ValueError:
            raise SignatureError("the note is no checkpoint") from None
        plain = size.isascii() and size.isdigit() and len(size) <= 18 and size == str(int(size))
        if not origin or not plain or len(decoded) != HASH_BYTES or lines[-1]:
            raise SignatureError("the note is no checkpoint")
        return cls(origin, int(size), decoded)

    @classmethod
    def of_note(cls, note: str) -> "Checkpoint":
        """Read the checkpoint in a signed note without verifying its signatures.

        Raises:
            SignatureError: The text is not a checkpoint.
        """
        return cls.parse(note.rpartition("\n\n")[0] + "\n")


def write_key(name: str, key_hash: bytes, key: bytes) -> str:
    """Return a key, public or private, as ``NAME+HASH+BASE64``."""
    return f"{name}+{key_hash.hex()}+{base64.b64encode(ED25519 + key).decode()}"


def read_key(text: str) -> tuple[str, str, bytes]:
    """Return name, claimed hash and raw key of ``NAME+HASH+BASE64``. The hash is not compared with the key.

    Raises:
        ValueError: The text has another form.
    """
    name, _, rest = text.strip("\ufeff \t\r\n").partition("+")
    claimed, _, encoded = rest.partition("+")
    data = base64.b64decode(encoded, validate=True)
    if not name or len(data) != HASH_BYTES + 1 or data[:1] != ED25519:
        raise ValueError("this is no key")
    return name, claimed, data[1:]


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """Return the signed note of a checkpoint."""
    return sign_note(checkpoint.text(), signer)


def sign_note(text: str, signer: Signer) -> str:
    """Return a signed note; its text ends with a newline and holds no empty line."""
    signature = base64.b64encode(signer.verifier.key_hash + signer.sign(text.encode())).decode()
    return f"{text}\n{SIGNATURE_PREFIX}{signer.name} {signature}\n"


def open_checkpoint(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """Return the checkpoint of a note that at least one known key signed.

    As the format demands, signatures by unknown keys are ignored, and a false signature by a known key fails the note.

    Raises:
        SignatureError: The note is malformed, or no known key signed it.
    """
    if len(note) > LONGEST_NOTE:
        raise SignatureError("this is not a signed note", "a checkpoint is a text file, as audit checkpoint writes it")
    return Checkpoint.parse(open_note(note, verifiers))


def open_note(note: str, verifiers: Sequence[Verifier]) -> str:
    """Return the text of a note that at least one known key signed.

    Raises:
        SignatureError: The note is malformed, or no known key signed it.
    """
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not note.endswith("\n"):
        raise SignatureError("this is not a signed note", "a checkpoint is a text file, as audit checkpoint writes it")
    text += "\n"
    signed = False
    for line in signatures[:-1].split("\n"):
        name, data = _signature(line)
        for verifier in verifiers:
            if (verifier.name, verifier.key_hash) == (name, data[:4]):
                if not verifier.accepts(text.encode(), data[4:]):
                    raise SignatureError(f"the signature of {name} does not verify: the note or the key is not genuine")
                signed = True
    if not signed:
        raise SignatureError("none of the known keys signed this note", "name its key with --key")
    return text


def _signature(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(SIGNATURE_PREFIX).partition(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        data = b""
    if not line.startswith(SIGNATURE_PREFIX) or not name or not space or len(data) <= 4:
        raise SignatureError("a signature line of the note is malformed")
    return name, data
