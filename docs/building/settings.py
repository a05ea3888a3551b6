"""The reference of settings, read from the dataclasses that hold them."""

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ledger.config import Config
from ledger.domain.access_policy import AccessPolicy, OidcPolicy, WebhookPolicy
from ledger.domain.gate_policy import GatePolicy, RetrainedReference
from ledger.domain.plugin_policy import PluginPolicy
from ledger.domain.settings import Preprocessing, Settings

from .markdown import code, flat, from_docstring


@dataclass(frozen=True)
class Table:
    """One table of settings on the page."""

    title: str
    holder: type[Any]
    """The dataclass with its values."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What a field is called in the file, where that differs."""
    omitted: frozenset[str] = frozenset()
    """Fields that are no settings, or tables of their own."""


GATE_KEYS = {f"own_{key}": key for key in ("test_per_class", "train_per_class", "test_images", "train_images")}
TABLES = (
    Table("Of a ledger", Config, omitted=frozenset({"root", "plugins", "gates", "access", "webhooks"})),
    Table("`[gates]` and `[gates.models.NAME]`", GatePolicy, GATE_KEYS),
    Table("`[[gates.models.NAME.retrained]]`", RetrainedReference),
    Table("`[access]`", AccessPolicy, omitted=frozenset({"oidc"})),
    Table("`[access.oidc]`", OidcPolicy),
    Table("`[webhooks]`", WebhookPolicy),
    Table("`[plugins]`", PluginPolicy),
)
MODEL_TABLES = (
    Table("Settings of a model", Settings),
    Table("Preprocessing of a model", Preprocessing),
)


def settings_page(tables: tuple[Table, ...]) -> str:
    """Return tables of settings, as Markdown."""
    return "\n".join(line for table in tables for line in _section(table))


def _section(table: Table) -> Iterator[str]:
    yield f"### {table.title}\n"
    yield from ("| setting | default | meaning |", "|---|---|---|")
    told = meanings(table.holder)
    for field in dataclasses.fields(table.holder):
        if not field.name.startswith("_") and field.name not in table.omitted:
            name = table.renamed.get(field.name, field.name)
            yield f"| {code(name)} | {_default(field)} | {_meaning(told.get(field.name, ''))} |"
    yield ""


def _meaning(told: str) -> str:
    # A file of settings has no None: what is not said is left out.
    said = re.sub(r"(^|[.:] )None\b", r"\1Left out", flat(told))
    return from_docstring(re.sub(r"\bNone\b", "left out", said))


def meanings(holder: type[Any]) -> dict[str, str]:
    """Return what the source says below each field of a dataclass."""
    (definition,) = ast.parse(inspect.cleandoc(inspect.getsource(holder))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(following, ast.Expr) and isinstance(field.target, ast.Name):
            found[field.target.id] = ast.literal_eval(following.value)
    return found


def _default(field: "dataclasses.Field[Any]") -> str:
    made = field.default_factory
    value = field.default if made is dataclasses.MISSING else made()
    if value is dataclasses.MISSING:
        return "must be set"
    if value is None or value == ():
        return ""
    return code(json.dumps(value, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return repr(value)
