"""What the shell completes: model names, class labels, request numbers. Silent on any trouble."""

from collections.abc import Callable
from typing import Any

import typer

from .session import Session, split_reference


def _from_ledger(ctx: typer.Context, query: Callable[[Any], list[str]]) -> list[str]:
    options = ctx.find_root().params
    try:
        with Session(options.get("ledger"), "completion").ledger() as ledger:
            return query(ledger)
    except Exception:  # noqa: BLE001 - an error message in the middle of a command line helps nobody
        return []


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a model's name."""

    def query(ledger: Any) -> list[str]:
        with ledger.database.read() as tx:
            return [model.name for model in tx.models.all() if model.name.startswith(incomplete)]

    return _from_ledger(ctx, query)


def class_labels(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a class label of the model named earlier on the line."""
    # After a bare `-c` the parser gives up on the rest of the line, and the model is still among its arguments.
    name: str = ctx.params.get("model") or next((word for word in ctx.args if not word.startswith("-")), "")

    def query(ledger: Any) -> list[str]:
        with ledger.database.read() as tx:
            labels = tx.models.get(split_reference(name)[0]).labels.labels
        return [label for label in labels if label.startswith(incomplete)]

    return _from_ledger(ctx, query) if name else []


def request_numbers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a request's number."""

    def query(ledger: Any) -> list[str]:
        with ledger.database.read() as tx:
            return [str(request.id) for request in tx.requests.all() if str(request.id).startswith(incomplete)]

    return _from_ledger(ctx, query)
