"""Which columns of a table hold images and classes, as pyarrow and Hugging Face's datasets write them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.errors import DataError, NotInstalledError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

IMAGES = ("image", "img", "png", "jpg", "jpeg", "picture", "photo", "bytes", "image_bytes")
LABELS = ("label", "labels", "class", "target", "category", "fine_label", "cls")
"""Names of columns, in lower case, the more telling first."""
METADATA = b"huggingface"
"""Under which datasets keeps its description of the columns."""


@dataclass(frozen=True)
class Columns:
    """Where images and classes are."""

    image: str
    label: str
    names: tuple[str, ...] | None
    """Names of the classes, in the order of their numbers; None if the table does not say."""


def require_pyarrow(spec: str) -> None:
    """Check that pyarrow is there.

    Raises:
        NotInstalledError: It is not.
    """
    try:
        import pyarrow  # noqa: F401, ICN001 - only whether it is there
    except ImportError as error:
        raise NotInstalledError(
            f"reading {spec.partition(':')[0]}: needs pyarrow, which is not installed here",
            "pip install 'unledger[parquet]'",
            extra="parquet",
        ) from error


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Return the path of a specification, and the columns that follow it: ``PATH?image=COLUMN&label=COLUMN``.

    Raises:
        UsageError: Something else follows.
    """
    path, mark, rest = spec.partition("?")
    chosen = dict(part.partition("=")[::2] for part in rest.split("&")) if mark else {}
    if set(chosen) - {"image", "label"} or not all(chosen.values()):
        raise UsageError(f"cannot read {rest!r} after the path", "write PATH?image=COLUMN&label=COLUMN")
    return path, chosen


def find_columns(where: str, schema: "pa.Schema", chosen: Mapping[str, str], features: Mapping[str, Any]) -> Columns:
    """Find the columns of a table.

    Args:
        where: The table, as people are told.
        schema: Its columns.
        chosen: What a person said.
        features: What datasets says of the columns; nothing where it did not write the table.

    Raises:
        DataError: There is no such column, or several could be meant.
    """
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(k).name == "bytes" for k in range(kind.num_fields))
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    def holds_classes(kind: Any) -> bool:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))

    image = _one(where, "image", schema, chosen, (IMAGES, holds_bytes))
    label = _one(where, "label", schema, chosen, (LABELS, holds_classes))
    described = features.get(label)
    named = described.get("names") if isinstance(described, dict) else None
    return Columns(image, label, tuple(map(str, named)) if isinstance(named, list) and named else None)


def _one(
    where: str,
    role: str,
    schema: "pa.Schema",
    chosen: Mapping[str, str],
    known: tuple[Sequence[str], Callable[[Any], bool]],
) -> str:
    usual, fits = known
    fitting: list[str] = [field.name for field in schema if fits(field.type)]
    if role in chosen:
        if chosen[role] not in fitting:
            raise DataError(
                f"{where} has no column {chosen[role]!r} that could hold the {role}",
                f"columns that could: {', '.join(fitting) or 'none'}",
            )
        return chosen[role]
    lower = {name.lower(): name for name in fitting}
    found = next((lower[name] for name in usual if name in lower), None)
    if found is None and len(fitting) == 1:
        [found] = fitting
    if found is None:
        raise DataError(
            f"{where} does not say which column holds the {role}; its columns are "
            f"{', '.join(f'{field.name} ({field.type})' for field in schema)}",
            f"name it after the path: ...?{role}=COLUMN",
        )
    return found


def described_features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, Any]:
    """Return what datasets says of the columns in a file's metadata; nothing if it does not."""
    try:
        info = json.loads((metadata or {}).get(METADATA, b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return info if isinstance(info, dict) else {}


def class_labels(
    where: str, columns: Columns, values: Sequence[Sequence[str | int | None]]
) -> tuple[list[str], list[list[int]]]:
    """Return the labels of a table, and the class index of each row of each split.

    Args:
        where: The table, as people are told.
        columns: Its columns.
        values: What the column of labels holds, by split.

    Raises:
        DataError: A row has no class, or one that has no name.
    """
    found = {one for split in values for one in split}
    if None in found:
        raise DataError(f"{where} has rows without a class in {columns.label}", "leave them out, or give them one")
    if all(isinstance(one, int) for one in found):
        numbers = [one for one in found if isinstance(one, int)]
        lowest, highest = min(numbers, default=0), max(numbers, default=-1)
        if lowest < 0:
            raise DataError(f"{where} has a class {lowest} in {columns.label}", "rows without a class must be left out")
        if columns.names is not None and highest >= len(columns.names):
            raise DataError(f"{where} names {len(columns.names):,} classes, and there is a class {highest:,}")
        rows = sum(map(len, values))
        if columns.names is None and highest >= rows:
            raise DataError(f"{where} has class {highest:,} but only {rows:,} images", "number classes from 0")
        labels = list(columns.names) if columns.names is not None else [str(k) for k in range(highest + 1)]
        return labels, [[int(one or 0) for one in split] for split in values]
    labels = sorted({str(one) for one in found})
    index = {label: k for k, label in enumerate(labels)}
    return labels, [[index[str(one)] for one in split] for split in values]
