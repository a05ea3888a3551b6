"""Documents about exporters: where live versions are put, and how far that came."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .document import Document, document, listing

if TYPE_CHECKING:
    from ledger.service.exporters.configured import ConfiguredExporter
    from ledger.service.exporters.delivery import Exported


def exporter_part(value: "ConfiguredExporter") -> Document:
    """Return an exporter, and what it has of each model."""
    return {
        "name": value.name,
        "spec": value.spec,
        "models": list(value.models),
        "hide_forgotten": value.hide_forgotten,
        "added_at": value.added_at,
        "told": [
            {"model": model, "version": told.version, "weights": told.weights, "at": told.at}
            for model, told in sorted(value.told.items())
        ],
        "attempts": value.attempts,
        "next_at": value.next_at,
        "detail": value.detail,
    }


def exporter_document(value: "ConfiguredExporter") -> Document:
    """Return one exporter."""
    return document("exporter", exporter_part(value))


def exporters_document(found: "Iterable[ConfiguredExporter]") -> Document:
    """Return every exporter of this machine, in the order they were added."""
    return listing("exporters", map(exporter_part, found))


def exporter_status_document(found: "Iterable[tuple[ConfiguredExporter, Mapping[str, int]]]") -> Document:
    """Return every exporter with the models that it is behind with, and the live version of each."""
    return listing(
        "exporter_status",
        (
            {**exporter_part(one), "behind": [{"model": model, "live": live} for model, live in sorted(late.items())]}
            for one, late in found
        ),
    )


def exported_live_document(done: "Iterable[Exported]") -> Document:
    """Return what exporters did just now."""
    return listing("exported_live", (vars(one) for one in done))
