"""Registered models of a server's ledger, their versions, and reports on them."""

from datetime import datetime, timedelta

from ledger.desk.asked import ModelKey, ReportFiles
from ledger.documents.document import Document
from ledger.errors import NotFoundError

from .client import ServerClient
from .names import ModelNames, read_models

DAY = timedelta(days=1)


class RemoteModels:
    """Asks about registered models.

    Args:
        client: The server.
        names: Finds models by name.
    """

    def __init__(self, client: ServerClient, names: ModelNames) -> None:
        self._client = client
        self._names = names

    def all(self) -> Document:
        """Return every model with its live version, by name."""
        return read_models(self._client)

    def show(self, model: ModelKey) -> Document:
        """Return a model, its live version, and the newest evidence on that."""
        return self._client.get(f"/models/{self._names.number(model)}")

    def labels(self, model: ModelKey) -> list[str]:
        """Return the labels of a model's classes, in the order of its outputs."""
        found = self._names.find(model) if isinstance(model, str) else self.show(model)
        return list(found["labels"])

    def spaces(self, model: ModelKey) -> Document:
        """Return the class spaces that are stored of a model."""
        return self._client.get(f"/models/{self._names.number(model)}/spaces")


class RemoteVersions:
    """Asks about versions, and for what changes which one is live.

    Args:
        client: The server.
        names: Finds models by name.
    """

    def __init__(self, client: ServerClient, names: ModelNames) -> None:
        self._client = client
        self._names = names

    def all(self, model: ModelKey) -> Document:
        """Return a model's versions, each with its level of evidence."""
        return self._client.listing(f"/models/{self._names.number(model)}/versions")

    def show(self, model: ModelKey, version: int) -> Document:
        """Return a model, one version of it, and the newest evidence on that.

        Raises:
            NotFoundError: There is no such model or version.
        """
        return self._client.get(f"/models/{self._names.number(model)}/versions/{self._version(model, version)}")

    def live_at(self, model: ModelKey, moment: datetime) -> Document:
        """Return the version that was live at a moment, as a list of one."""
        return self._client.get(f"/models/{self._names.number(model)}/live", at=moment)

    def evidence(self, model: ModelKey, version: int | None = None) -> Document:
        """Return what was measured on a version's weights, and what was not; None asks about what is live."""
        number = self._names.number(model)
        shown = self._client.get(f"/models/{number}")["live"] if version is None else self._version(model, version)
        return self._client.get(f"/models/{number}/versions/{shown}/evidence")

    def plan_rollback(self, model: ModelKey, to: int) -> Document:
        """Return what rolling back to a version would do, and what confirms that."""
        body = {"to": self._version(model, to)}
        return self._client.post(f"/models/{self._names.number(model)}/rollback-plans", body)

    def roll_back(self, model: ModelKey, to: int, confirmation: str, reason: str = "") -> Document:
        """Roll back as a plan says that somebody has seen."""
        body = {"to": to, "confirmation": confirmation, "reason": reason}
        return self._client.post(f"/models/{self._names.number(model)}/rollbacks", body)

    def plan_purge(self, model: ModelKey, older_than: timedelta) -> Document:
        """Return what a purge would destroy, and what confirms that."""
        body = {"older_than_days": older_than / DAY}
        return self._client.post(f"/models/{self._names.number(model)}/purge-plans", body)

    def purge(
        self, model: ModelKey, older_than: timedelta, confirmation: str, *, clock_is_right: bool = False
    ) -> Document:
        """Destroy what a plan says that somebody has seen."""
        body = {"older_than_days": older_than / DAY, "confirmation": confirmation, "clock_is_right": clock_is_right}
        return self._client.post(f"/models/{self._names.number(model)}/purges", body)

    def _version(self, model: ModelKey, number: int) -> int:
        if number < 0:
            name = model if isinstance(model, str) else f"model {model}"
            raise NotFoundError(f"{name} has no version {number}", f"see: unledger model versions {name}")
        return number


class RemoteReports:
    """Fetches reports.

    Args:
        client: The server.
        names: Finds models by name.
    """

    def __init__(self, client: ServerClient, names: ModelNames) -> None:
        self._client = client
        self._names = names

    def one(self, model: ModelKey, *, tables: bool = False) -> ReportFiles:
        """Return the report on a model, with the numbers behind its pictures if asked for."""
        number = self._names.number(model)
        page = self._client.file(f"/models/{number}/report").decode()
        found = self._client.get(f"/models/{number}/report/tables")["items"] if tables else []
        return ReportFiles(page, {table["name"]: table["csv"] for table in found})

    def every(self) -> dict[str, str]:
        """Return a page for each model, and an index before them, by name of the file."""
        return {page["name"]: page["html"] for page in self._client.get("/report-pages")["items"]}
