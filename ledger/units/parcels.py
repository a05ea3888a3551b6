"""What units return, as bytes: some facts as JSON, then blobs. Nothing that could run code when it is read."""

from collections.abc import Sequence
from typing import TypeVar

import orjson

from ledger.json_shapes import read_json_as

T = TypeVar("T")
LENGTH = 8


def parcel(facts: object, blobs: Sequence[bytes] = ()) -> bytes:
    """Return facts, plain values or a dataclass of such, and blobs as bytes."""
    head = orjson.dumps(facts)
    return b"".join(len(part).to_bytes(LENGTH, "little") + part for part in (head, *blobs))


def unparcel(kind: type[T], data: bytes) -> tuple[T, list[bytes]]:
    """Return the facts, as a value of a type, and the blobs.

    Raises:
        ValueError: These are no such bytes.
    """
    parts, place = [], 0
    while place < len(data):
        size = int.from_bytes(data[place : place + LENGTH], "little")
        place += LENGTH
        if place + size > len(data):
            raise ValueError("a parcel is cut short")
        parts.append(data[place : place + size])
        place += size
    if not parts:
        raise ValueError("a parcel is empty")
    return read_json_as(kind, parts[0]), parts[1:]
