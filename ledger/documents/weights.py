"""Documents about weights files."""

from pathlib import Path
from typing import TYPE_CHECKING

from .document import Document, document

if TYPE_CHECKING:
    from ledger.service.models.conversion import Conversion


def converted_document(source: Path, target: Path, made: "Conversion") -> Document:
    """Return what was made of a weights file."""
    return document(
        "converted",
        {
            "source": str(source),
            "kind": made.source,
            "key": made.key,
            "others": [{"key": one.key, "tensors": len(one.tensors)} for one in made.others],
            "removed": list(made.removed),
            "left_out": list(made.left_out),
            "not_run": list(made.stood_for),
            "tensors": made.tensors,
            "shared": made.shared,
            "output": str(target),
            "size": made.size,
            "sha256": made.digest,
        },
    )
