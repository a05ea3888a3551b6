"""Plain values from JSON or TOML, checked against the types of a dataclass.

The one place that checks the shape of documents from outside (``docs/adr/0012-checking-foreign-json.md``). Nothing is
converted on the way: ``"1"`` and ``true`` are not numbers, and ``1.0`` is not a whole one.
"""

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
