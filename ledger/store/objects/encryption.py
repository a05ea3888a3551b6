"""The form of a stored object: AES-256-GCM in chunks, each bound to the object, its length and its place.

    magic (16 bytes) | length of the plain bytes (8, big-endian) | chunk 0 and its tag | chunk 1 and its tag | ...

A chunk holds 1 MiB of plain bytes, the last one the rest; nothing at all is one empty chunk. Its nonce is its number,
which is safe because a key encrypts one object only: the same bytes under the same key are the same file. Magic,
digest, length and number are its associated data, so chunks cannot be dropped, repeated, moved or taken from
elsewhere. A safetensors file never begins with the magic: it would announce a header of 8e18 bytes.
"""

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import ObjectError

MAGIC = b"unledger object\n"
HEADER = len(MAGIC) + 8
CHUNK = 2**20
TAG = 16
KEY = 32
"""Bytes of a key."""


def encrypt(key: bytes, digest: str, data: bytes) -> Iterator[bytes]:
    """Yield the stored form of some bytes, piece by piece.

    Args:
        key: 32 random bytes, used for no other object.
        digest: SHA-256 of the plain bytes.
        data: The plain bytes.
    """
    cipher = AESGCM(key)
    yield MAGIC + len(data).to_bytes(8, "big")
    view = memoryview(data)
    for index in range(_chunks(len(data))):
        piece = view[index * CHUNK : (index + 1) * CHUNK]
        yield cipher.encrypt(_nonce(index), piece, _bound(digest, len(data), index))


def decrypt(key: bytes, digest: str, file: BinaryIO, size: int) -> bytes:
    """Return the plain bytes of an opened object, authenticated and hashed.

    Args:
        key: The object's key.
        digest: Its name.
        file: Opened at its beginning. Read chunk by chunk: what is forged is refused at its first bad chunk.
        size: Bytes of the file.

    Raises:
        ObjectError: It is truncated or altered, or the key is not its own.
    """
    header = file.read(HEADER)
    length = int.from_bytes(header[len(MAGIC) :], "big")
    if len(header) < HEADER or size != stored_size(length):
        short = len(header) < HEADER or size < stored_size(length)
        raise altered(digest, f"{size} bytes are there, {stored_size(length)} belong there", truncated=short)
    cipher, plain, seen = AESGCM(key), io.BytesIO(), hashlib.sha256()
    for index in range(_chunks(length)):
        wanted = min(CHUNK, length - index * CHUNK) + TAG
        try:
            piece = cipher.decrypt(_nonce(index), file.read(wanted), _bound(digest, length, index))
        except (InvalidTag, ValueError):
            raise altered(digest, f"its bytes from {HEADER + index * (CHUNK + TAG)} on are not genuine") from None
        seen.update(piece)
        plain.write(piece)
    if seen.hexdigest() != digest:
        raise altered(digest, f"its bytes hash to {seen.hexdigest()}")
    return plain.getvalue()


def stored_size(length: int) -> int:
    """Return the bytes that the stored form of this many plain bytes takes."""
    return HEADER + length + TAG * _chunks(length)


def altered(digest: str, detail: str, *, truncated: bool = False) -> ObjectError:
    """Return the error for an object that is not what was stored."""
    fault = "truncated" if truncated else "altered"
    return ObjectError(f"object {digest} was {fault}: {detail}", "restore it from a backup", fault=fault)


def _chunks(length: int) -> int:
    return max(1, -(-length // CHUNK))


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


def _bound(digest: str, length: int, index: int) -> bytes:
    return MAGIC + bytes.fromhex(digest) + length.to_bytes(8, "big") + index.to_bytes(8, "big")
