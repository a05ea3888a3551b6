"""Plain values from JSON or TOML, checked against the types of a dataclass.

The one place that checks the shape of documents from outside (``docs/adr/0012-checking-foreign-json.md``). Nothing is
converted on the way: ``"1"`` and ``true`` are not numbers, and ``1.0`` is not a whole one.
"""

import json
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def read_json_as(kind: type[T], text: str | bytes) -> T:
    """Return what a JSON text says, as a value of a type.

    Args:
        kind: A dataclass, or another type with type arguments. Keys that a dataclass does not have are ignored.
        text: The JSON text.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has another shape; says what and where.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def read_unique_json_as(kind: type[T], text: str) -> T:
    """Return what a JSON text of a person says, as :func:`read_json_as` does; it must say everything once.

    Raises:
        ValueError: As there, or an object gives a key twice: which of the two was meant, nobody knows.
    """
    found = read_json_as(kind, text)
    json.loads(text, object_pairs_hook=_unique)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return found


def value_as(kind: type[T], value: Any) -> T:
    """Return plain values, as a JSON or TOML parser gives them, as a value of a type.

    Args:
        kind: A dataclass, or another type with type arguments. Keys that a dataclass does not have are ignored.
        value: The plain values.

    Raises:
        ValueError: They have another shape; says what and where.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
