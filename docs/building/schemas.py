"""The reference of JSON documents, read from their schemas."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .markdown import code, escaped, flat

FOLDER = Path("ledger/documents/schemas")
SHARED = "parts"
"""The schema that holds what others share."""


def schemas_page(root: Path) -> str:
    """Return every kind of document with its fields, as Markdown.

    Args:
        root: The repository.
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted((root / FOLDER).glob("*.json"))}
    shared = found.pop(SHARED)
    lines: list[str] = []
    for name, schema in found.items():
        lines += _section(f"`unledger.{name}/1`", schema, _file(name))
    lines.append("## Parts of several documents\n")
    for name, schema in shared["$defs"].items():
        lines += _section(_title(name), schema, "", depth=3)
    return "\n".join(lines)


def _file(name: str) -> str:
    return f"[The schema](/{FOLDER}/{name}.json)"


def _title(part: str) -> str:
    return f"Part `{part}`"


def _section(title: str, schema: dict[str, Any], link: str, depth: int = 2) -> Iterator[str]:
    yield f"{'#' * depth} {title}\n"
    told = [schema.get("title", ""), schema.get("description", "")]
    yield " ".join([*(escaped(flat(text)).rstrip(".") + "." for text in told if text), link]).strip() + "\n"
    rows = list(_rows(schema, ""))
    if rows:
        yield from ("| field | type | meaning |", "|---|---|---|", *rows, "")
    else:
        yield f"{_type(schema).capitalize()}.\n"


def _rows(schema: dict[str, Any], path: str) -> Iterator[str]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        optional = "" if name in required else "?"
        meaning = escaped(flat(field.get("description", "")))
        yield f"| {code(path + name)}{optional} | {_type(field)} | {meaning} |"
        inner = field.get("items", field)
        if isinstance(inner, dict) and "properties" in inner:
            yield from _rows(inner, f"{path}{name}{'[]' if inner is not field else ''}.")


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return _reference(field["$ref"])
    if "const" in field:
        return code(json.dumps(field["const"]))
    if "enum" in field:
        return ", ".join(code(json.dumps(value)) for value in field["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return " or ".join(_type(each) for each in field[choice])
    kinds = field.get("type", "any")
    names = [kinds] if isinstance(kinds, str) else kinds
    if "items" in field and "array" in names:
        names = [f"list of {_type(field['items'])}" if name == "array" else name for name in names]
    return " or ".join(names)


def _reference(target: str) -> str:
    # The anchors are those that the headings of this page get.
    name = target.rpartition(":")[2]
    if name.startswith(f"{SHARED}#"):
        name = name.rpartition("/")[2]
        return f"[{name}](#part-{name})"
    return f"[unledger.{name}](#unledger{name.replace('/', '')})"
