"""Rows of one table as a snapshot holds them, each read when it is asked for: most commands need a few of many."""

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

import msgspec

Row = dict[str, Any]
Key = tuple[Any, ...]
READ = msgspec.msgpack.Decoder()
WRITE = msgspec.msgpack.Encoder()


class PackedRows(MutableMapping[Key, Row]):
    """Rows by key. It behaves like a dictionary.

    Args:
        packed: Rows as :meth:`pack` returned them.
    """

    def __init__(self, packed: Iterable[tuple[Key, bytes]] = ()) -> None:
        self._packed = dict(packed)
        self._rows: dict[Key, Row] = {}

    def __getitem__(self, key: Key) -> Row:
        row = self._rows.get(key)
        if row is None:
            # One that is handed out may be changed: what was packed counts no more.
            row = self._rows.setdefault(key, READ.decode(self._packed[key]))
            self._packed.pop(key, None)
        return row

    def __setitem__(self, key: Key, row: Row) -> None:
        self._packed.pop(key, None)
        self._rows[key] = row

    def __delitem__(self, key: Key) -> None:
        if self._packed.pop(key, None) is None:
            del self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows or key in self._packed

    def __iter__(self) -> Iterator[Key]:
        return iter([*self._packed, *self._rows])

    def __len__(self) -> int:
        return len(self._packed) + len(self._rows)

    def pack(self) -> list[tuple[Key, bytes]]:
        """Return all rows, packed.

        Raises:
            ValueError: One of them would come back as another value.
        """
        packed = list(self._packed.items())
        for key, row in self._rows.items():
            content = WRITE.encode(row)
            if READ.decode(content) != row:
                raise ValueError(f"row {key} cannot be packed")
            packed.append((key, content))
        return packed
