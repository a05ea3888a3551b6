"""The header of a safetensors file, read with limits before anything is allocated for its tensors.

The format: 8 bytes with the header's length (little-endian), the header as JSON, then the tensors' bytes without gap or
overlap. Names are data, never paths.
"""

import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ledger.json_shapes import value_as

LENGTH_BYTES = 8
"""Number of bytes, at the beginning of the file, that hold the length of the header."""
MOST_HEADER_BYTES = 4 * 2**20
"""Largest header, in bytes. The largest image networks have thousands of tensors, with a hundred bytes each."""
MOST_TENSORS = 50_000
"""Most tensors of one file. The limits on brackets and commas below refuse larger headers before they are parsed."""
MOST_HEADER_BRACKETS = 3 * MOST_TENSORS + 2
MOST_HEADER_COMMAS = 400_000
MOST_DIMENSIONS = 32
MOST_NAME_CHARACTERS = 1_000
"""Most characters of a tensor's name."""
ELEMENT_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits of one element of each type that is read."""


class HeaderError(ValueError):
    """A header is not well-formed, or is beyond a limit."""


@dataclass(frozen=True)
class TensorEntry:
    """What a header says of one tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Offset of its first byte, behind the header."""
    end: int
    """Offset behind its last byte."""


@dataclass(frozen=True)
class Header:
    """What a header says of a file."""

    entries: tuple[TensorEntry, ...]
    metadata: Mapping[str, str]
    """Texts that whoever wrote the file added."""

    @property
    def aliases(self) -> dict[str, str]:
        """Further names of tensors, with the names that they are stored under.

        ``safetensors.torch.save_model`` notes them for tensors that a network holds in several places.
        """
        stored = {entry.name for entry in self.entries}
        return {other: name for other, name in self.metadata.items() if name in stored and other not in stored}


def read_header(read: Callable[[int], bytes], size: int) -> Header:
    """Return a file's header, after a check that it describes exactly the file.

    Args:
        read: Returns the next bytes of the file, as many as asked for; fewer only at its end.
        size: Bytes of the whole file.

    Raises:
        HeaderError: Names the first thing that is wrong.
    """
    announced = int.from_bytes(read(LENGTH_BYTES), "little")
    if size < LENGTH_BYTES or announced > size - LENGTH_BYTES:
        if 0 < size < LENGTH_BYTES or announced > MOST_HEADER_BYTES:
            raise HeaderError("it does not begin with a header")
        raise HeaderError(f"it announces a header of {announced} bytes and has {size}")
    if announced > MOST_HEADER_BYTES:
        raise HeaderError(f"its header has {announced} bytes, more than {MOST_HEADER_BYTES}")
    header = _entries(_parsed(read(announced)))
    _check_layout(header.entries, size - LENGTH_BYTES - announced)
    return header


def _parsed(text: bytes) -> dict[str, Any]:
    # Counted before parsing: a few bytes of JSON can become a hundred times as much memory.
    brackets, commas = text.count(b"{") + text.count(b"["), text.count(b",")
    if brackets > MOST_HEADER_BRACKETS or commas > MOST_HEADER_COMMAS:
        raise HeaderError(f"its header describes more than {MOST_TENSORS} tensors")
    if not text.startswith(b"{"):
        raise HeaderError("its header is no JSON object")
    try:
        header = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused, parse_float=_refused)
    except HeaderError:
        raise
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"its header is no JSON: {error}") from error
    return dict(header)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise HeaderError("its header names something twice")
    return found


def _refused(text: str) -> Any:
    raise HeaderError(f"its header holds the number {text[:20]}")


def _entries(header: dict[str, Any]) -> Header:
    try:
        metadata = value_as(dict[str, str], header.pop("__metadata__", {}))
    except ValueError as error:
        raise HeaderError("its metadata are no texts") from error
    entries = [_entry(name, value) for name, value in header.items()]
    if len({unicodedata.normalize("NFC", entry.name) for entry in entries}) < len(entries):
        raise HeaderError("two of its tensors have the same name in different spellings")
    return Header(tuple(entries), metadata)


def _entry(name: str, value: Any) -> TensorEntry:
    if not name or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
        raise HeaderError(f"{name[:50]!r} cannot be a tensor's name")
    try:
        said = value_as(_Description, value)
    except ValueError as error:
        raise HeaderError(f"its header does not describe {name}: {error}") from error
    if len(value) > len(fields(_Description)):
        raise HeaderError(f"its header says more of {name} than type, shape and place")
    if said.dtype not in ELEMENT_BITS:
        raise HeaderError(f"{name} has elements of an unknown type, {said.dtype[:20]}")
    numbers = (*said.shape, *said.data_offsets)
    if len(said.shape) > MOST_DIMENSIONS or not all(0 <= number < 2**63 for number in numbers):
        raise HeaderError(f"the shape or place of {name} makes no sense")
    return TensorEntry(name, said.dtype, said.shape, *said.data_offsets)


@dataclass(frozen=True)
class _Description:
    """What a header says under a tensor's name."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def _check_layout(entries: Sequence[TensorEntry], size: int) -> None:
    place = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != place:
            raise HeaderError(f"{entry.name} does not begin where the tensor before it ends")
        if (entry.end - entry.begin) * 8 != math.prod(entry.shape) * ELEMENT_BITS[entry.dtype]:
            raise HeaderError(f"{entry.name} takes {entry.end - entry.begin} bytes, which its shape does not")
        place = entry.end
    if place != size:
        raise HeaderError(f"its tensors take {place} bytes, and {size} are there")
