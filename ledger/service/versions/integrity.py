"""Read every stored object of a model again, and compare it with its digest."""

from ledger.errors import (
    LedgerError,
)
from ledger.service.ledger import Ledger
from ledger.service.versions.model_history import read_model_history
from ledger.weights import tensor_files


def verify(ledger: Ledger, model_name: str) -> list[tuple[str, str]]:
    """Re-read every object of a model; return what was checked, with a problem or an empty string each."""
    known = read_model_history(ledger, model_name)
    checks = [(f"version {v.number}", v.weights) for v in known.versions if v.purged_at is None]
    checks += [
        (f"class space of {known.model.labels[s.class_index]} ({len(s.samples)} images)", s.object_digest)
        for s in known.spaces
        if s.anchor >= known.model.anchor
    ]
    return [(name, _problem(ledger, digest)) for name, digest in checks]


def _problem(ledger: Ledger, digest: str) -> str:
    try:
        tensor_files.parse(ledger.objects.get(digest), digest)
    except LedgerError as error:
        return error.message
    return ""
