"""What the shell completes: model names, class labels, request numbers. Errors complete nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from .session import Session, server_meant, split_reference

if TYPE_CHECKING:
    from ledger.desk.desk import Desk


def _from_desk(ctx: typer.Context, query: "Callable[[Desk], list[str]]") -> list[str]:
    options = ctx.find_root().params
    folder = options.get("ledger")
    try:
        server = server_meant(options.get("server"), folder, None)
        with Session(folder, "completion", server=server).desk() as desk:
            return query(desk)
    except Exception:  # noqa: BLE001 - an error message would garble the command line
        return []


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a model's name."""

    def query(desk: "Desk") -> list[str]:
        return [model["name"] for model in desk.models.all()["items"] if model["name"].startswith(incomplete)]

    return _from_desk(ctx, query)


def class_labels(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a class label of the model named earlier on the line."""
    # After a bare `-c` the parser stops, and the model is still among the unparsed arguments.
    name: str = ctx.params.get("model") or next((word for word in ctx.args if not word.startswith("-")), "")

    def query(desk: "Desk") -> list[str]:
        return [label for label in desk.models.labels(split_reference(name)[0]) if label.startswith(incomplete)]

    return _from_desk(ctx, query) if name else []


def request_numbers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a request's number."""

    def query(desk: "Desk") -> list[str]:
        numbers = (str(request["id"]) for request in desk.requests.all()["items"])
        return [number for number in numbers if number.startswith(incomplete)]

    return _from_desk(ctx, query)
