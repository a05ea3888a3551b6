"""Names of models, which the server knows by their numbers: names may hold anything and belong in no address."""

import re
from functools import cached_property

from ledger.desk.asked import ModelKey
from ledger.documents.document import Document
from ledger.domain.numbers import LARGEST_WHOLE
from ledger.errors import NotFoundError

from .client import ServerClient

ID = re.compile("[0-9a-f]{1,64}")
"""What tokens and jobs are called by."""


class ModelNames:
    """Finds models by name; what the server says of them is asked once.

    Args:
        client: The server.
    """

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    @cached_property
    def _all(self) -> list[Document]:
        return list(read_models(self._client)["items"])

    def find(self, name: str) -> Document:
        """Return what the server says of a model.

        Raises:
            NotFoundError: There is none of this name.
        """
        for model in self._all:
            if model["name"] == name:
                return model
        names = ", ".join(model["name"] for model in self._all)
        raise NotFoundError(
            f"there is no model called {name!r}", f"models: {names}" if names else "register one: unledger model add"
        )

    def number(self, model: ModelKey) -> int:
        """Return the number of a model.

        Raises:
            NotFoundError: There is none of this name.
        """
        return model if isinstance(model, int) else int(self.find(model)["id"])

    def optional(self, model: ModelKey | None) -> int | None:
        """Return the number of a model; None stands for all of them.

        Raises:
            NotFoundError: There is none of this name.
        """
        return None if model is None else self.number(model)


def read_models(client: ServerClient) -> Document:
    """Return every model, by name."""
    found = client.listing("/models")
    return {**found, "items": sorted(found["items"], key=lambda model: str(model["name"]))}


def identified(what: str, found: str, hint: str = "") -> str:
    """Return what names a token or a job, if a server can be asked for it.

    Args:
        what: What it names.
        found: The name.
        hint: What lists them.

    Raises:
        NotFoundError: Nothing is called so.
    """
    if ID.fullmatch(found) is None:
        raise NotFoundError(f"there is no {what} {found[:40]}", hint)
    return found


def numbered(what: str, number: int, command: str) -> int:
    """Return a number that a server can be asked for.

    Args:
        what: What bears it.
        number: The number.
        command: What lists them.

    Raises:
        NotFoundError: Nothing bears such a number.
    """
    if not 1 <= number <= LARGEST_WHOLE:
        raise NotFoundError(f"there is no {what} {number}", f"see: unledger {command}")
    return number
