"""Documents about weights files."""

from pathlib import Path
from typing import TYPE_CHECKING

from .document import Document, document

if TYPE_CHECKING:
    from ledger.service.models.conversion import Conversion
    from ledger.service.models.inspection import Inspection


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


def inspected_document(found: "Inspection") -> Document:
    """Return what is known of a weights file."""
    return document(
        "inspected",
        {
            "file": str(found.path),
            "kind": found.kind,
            "size": found.size,
            "key": found.key,
            "others": [{"key": one.key, "tensors": len(one.tensors)} for one in found.others],
            "beside": list(found.beside),
            "removed": list(found.removed),
            "not_run": list(found.stood_for),
            "tensors": found.tensors,
            "parameters": found.parameters,
            "dtypes": dict(found.dtypes),
            "said": found.said or None,
            "architectures": [
                {"spec": one.spec, "options": dict(one.options), "classes": one.classes} for one in found.architectures
            ],
            "classes": found.classes,
            "plain": found.plain,
            "commands": list(found.commands),
        },
    )
