"""What the shell completes: model names, class labels, request numbers. Errors complete nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from .session import Session, split_reference

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger


def _from_ledger(ctx: typer.Context, query: Callable[["Ledger"], list[str]]) -> list[str]:
    options = ctx.find_root().params
    try:
        with Session(options.get("ledger"), "completion").ledger() as ledger:
            return query(ledger)
    except Exception:  # noqa: BLE001 - an error message would garble the command line
        return []


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a model's name."""

    def query(ledger: "Ledger") -> list[str]:
        from ledger.service.versions.model_history import list_models

        return [model.name for model, _ in list_models(ledger) if model.name.startswith(incomplete)]

    return _from_ledger(ctx, query)


def class_labels(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a class label of the model named earlier on the line."""
    # After a bare `-c` the parser stops, and the model is still among the unparsed arguments.
    name: str = ctx.params.get("model") or next((word for word in ctx.args if not word.startswith("-")), "")

    def query(ledger: "Ledger") -> list[str]:
        from ledger.service.models.lookup import get_model

        labels = get_model(ledger, split_reference(name)[0]).labels.labels
        return [label for label in labels if label.startswith(incomplete)]

    return _from_ledger(ctx, query) if name else []


def request_numbers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a request's number."""

    def query(ledger: "Ledger") -> list[str]:
        from ledger.service.requests.listing import list_requests

        numbers = (str(request.id) for _, request in list_requests(ledger))
        return [number for number in numbers if number.startswith(incomplete)]

    return _from_ledger(ctx, query)
