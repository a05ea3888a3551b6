"""Documents about the ledger itself: its schema, checks, plugins and stored objects."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .document import Document, document, listing
from .errors import error_part

if TYPE_CHECKING:
    from ledger.plugin_manager import PluginInfo
    from ledger.service.upkeep.doctor import Check
    from ledger.service.upkeep.facts import LedgerFacts
    from ledger.service.upkeep.fsck import FsckResult
    from ledger.service.upkeep.garbage import Garbage
    from ledger.service.upkeep.schema import SchemaState


def ledger_document(facts: "LedgerFacts") -> Document:
    """Return what a ledger is, and whether it may be written to."""
    problem = None if facts.problem is None else error_part(facts.problem)
    return document("ledger", {**vars(facts), "problem": problem})


def created_document(folder: Path) -> Document:
    """Return where a ledger was created."""
    return document("created", {"folder": str(folder)})


def checks_document(checks: "Iterable[Check]") -> Document:
    """Return what a ledger needs, and whether it has it."""
    return listing("checks", (vars(check) for check in checks))


def schema_document(state: "SchemaState") -> Document:
    """Return the schema revision of the database and of this release."""
    return document("schema", {"current": state.current, "wanted": state.wanted})


def plugins_document(infos: "Iterable[PluginInfo]") -> Document:
    """Return the plugins, those that cannot be used included."""
    return listing("plugins", (vars(info) for info in infos))


def fsck_document(result: "FsckResult", *, read_data: bool) -> Document:
    """Return what a check of everything that is stored found."""
    body = {
        "ok": result.sound,
        "read_data": read_data,
        "objects": result.objects,
        "findings": [vars(finding) for finding in result.findings],
        "quarantined": result.quarantined,
        "released": result.released,
    }
    return document("fsck", body)


def gc_document(garbage: "Sequence[Garbage]", *, dry_run: bool) -> Document:
    """Return what was removed, or would be."""
    body = {"dry_run": dry_run, "removed": [vars(one) for one in garbage], "bytes": sum(one.size for one in garbage)}
    return document("gc", body)


def written_plugin_document(name: str, folder: Path, written: Iterable[Path]) -> Document:
    """Return the files of a plugin that was just written."""
    body = {"name": name, "folder": str(folder), "files": [str(path) for path in written]}
    return document("written_plugin", body)
