"""Read every stored object of a model again, and compare it with its digest."""

import io

from ledger.errors import LedgerError
from ledger.service.ledger import Ledger
from ledger.service.versions.model_history import read_model_history
from ledger.weights.tensor_header import HeaderError, read_header


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
        data = ledger.objects.get(digest)
        # The digest vouches for every byte; that they are tensors, the header tells without the engine.
        read_header(io.BytesIO(data).read, len(data))
    except LedgerError as error:
        return error.message
    except HeaderError as error:
        return f"{digest} is not a safetensors file: {error}"
    return ""
