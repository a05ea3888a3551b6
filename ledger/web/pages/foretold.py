"""What a preview foretells, laid out: each change beside the interval that so few images leave it."""

from ledger.documents.document import Document
from ledger.domain.previews import PreviewedClass

Bounds = tuple[float, float]
"""Of a 95 % interval."""


def foretold(preview: Document, most: int) -> Document:
    """Return the change on all retained images together, and on each of the first classes.

    Documents tell of losses; pages tell of changes, which are losses with the other sign.
    """
    together = PreviewedClass(*preview["record"]["retained"]).lost
    rows = [
        {**one, "change": _change(one["lost"]), "bounds": _bounds(one["interval"])} for one in preview["classes"][:most]
    ]
    return {
        "change": _change(together.difference),
        "bounds": _bounds(together.interval()),
        "rows": rows,
        "unlisted": len(preview["classes"]) - len(rows),
    }


def _change(lost: float | None) -> float | None:
    return None if lost is None else -lost


def _bounds(of_loss: list[float] | Bounds | None) -> Bounds | None:
    return None if of_loss is None else (-of_loss[1], -of_loss[0])
