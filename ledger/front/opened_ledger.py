"""A ledger as a program opens it: ``ledger.Ledger``."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from ledger.desk.desk import Desk
from ledger.desk.local.desk import LocalDesk
from ledger.errors import LedgerError, UsageError
from ledger.service.actor import acting_as
from ledger.service.ledger import Ledger, find_ledger, init_ledger, open_ledger, tell_nobody
from ledger.service.progress import Progress, Silent
from ledger.shown_tables import ShownAsTable, ShownTable

from .registered_models import RegisteredModels
from .results import CarriedOut, KeptRequest, listed_requests
from .values import Listing
from .working import work_off


class LedgerWarning(UserWarning):
    """A ledger can be read, and nothing may be written to it."""


class OpenedLedger(ShownAsTable, AbstractContextManager["OpenedLedger"]):
    """A ledger, here or behind a server, and whoever acts on it. Of one thread.

    Open it with :meth:`open` or :meth:`create`, and close it, or use it in a ``with`` block.

    Args:
        desk: Answers.
        ledger: The ledger; None where a server has it.
        where: Its folder, or the server's address.
        close: Called to close it.
        progress: Follows long work.
    """

    def __init__(
        self, desk: Desk, ledger: Ledger | None, where: str, close: Callable[[], None], progress: Progress
    ) -> None:
        self.desk = desk
        """Every question of every face, answered by documents: what this class has no method for."""
        self._ledger = ledger
        self._where = where
        self._close = close
        self._progress = progress

    @classmethod
    def open(
        cls,
        folder: str | Path | None = None,
        *,
        server: str | None = None,
        token: str | None = None,
        actor: str | None = None,
        device: str = "auto",
        progress: Progress | None = None,
        tell: Callable[[str], None] = tell_nobody,
    ) -> "OpenedLedger":
        """Open an existing ledger.

        Args:
            folder: Where it is; else ``UNLEDGER_DIR``, else the current folder or one above it.
            server: Address of a server, in the place of a folder. There, images and weights are out of reach.
            token: What lets you into that server.
            actor: Who acts, recorded with every change; else ``UNLEDGER_ACTOR``, else the login name.
            device: Where to compute: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            progress: Follows long work.
            tell: Takes sentences about what differs from what you may expect, e.g. ``print``.

        Raises:
            NotFoundError: There is none.
            UsageError: It names a folder and a server, or somebody to act in the place of whoever the token is for.
            SchemaVersionError: Its database is older or newer than this release.
        """
        follows = progress or Silent()
        if server is not None:
            if folder is not None or actor is not None:
                raise UsageError(
                    "a server has one ledger, and whoever the token was made for acts", "leave out folder and actor"
                )
            # Imported here: what speaks HTTP takes a while to import.
            from ledger.desk.remote.client import ServerClient
            from ledger.desk.remote.desk import RemoteDesk

            away = RemoteDesk(ServerClient(server, token))
            away.upkeep.facts()
            return cls(away, None, server, lambda: away.__exit__(None, None, None), follows)
        config = find_ledger(None if folder is None else Path(folder))
        found = open_ledger(config, acting_as(actor), device=device, tell=tell)
        problem = found.problem()
        if problem is not None:
            warnings.warn(f"{problem.message}; {problem.hint}", LedgerWarning, stacklevel=2)
        return cls(LocalDesk(found, follows), found, str(config.root), found.close, follows)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        database: str = "sqlite:///ledger.db",
        store: str = "objects",
        time_zone: str = "UTC",
        actor: str | None = None,
        device: str = "auto",
        progress: Progress | None = None,
        tell: Callable[[str], None] = tell_nobody,
    ) -> "OpenedLedger":
        """Create a ledger in a folder and open it.

        Args:
            folder: Created if need be.
            database: A relative SQLite path counts from the folder.
            store: Where weights and class spaces are kept: a folder in this one, or a URL.
            time_zone: Where days begin and end.
            actor: As :meth:`open` has it.
            device: Likewise.
            progress: Likewise.
            tell: Likewise.

        Raises:
            ConflictError: The folder already holds a ledger.
            LedgerError: Folder, database or object store cannot be written.
        """
        init_ledger(Path(folder), database, store, acting_as(actor), time_zone=time_zone)
        return cls.open(folder, actor=actor, device=device, progress=progress, tell=tell)

    def __repr__(self) -> str:
        return f"Ledger({self._where!r})"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the ledger."""
        self.close()

    def close(self) -> None:
        """Close the database, or the connection to the server."""
        self._close()

    @property
    def models(self) -> RegisteredModels:
        """The models, by name: ``ledger.models["pets"]``."""
        return RegisteredModels(self.desk, self._here, self._progress)

    @property
    def requests(self) -> Listing[KeptRequest]:
        """Every request, in the order they were filed."""
        return listed_requests(self.desk.requests.all()["items"])

    def work(self) -> Listing[CarriedOut]:
        """Carry out every request that waits, here and now; one that fails is recorded, and the others go on.

        Raises:
            NotInstalledError: Nothing can be computed here.
            LeaseHeldError: Nothing is left but what another worker holds.
            RetryLaterError: Something came in between; the request in progress is back in the queue.
            UsageError: The ledger is a server's: its workers carry requests out.
        """
        return work_off(self._here("carrying out requests"), self._progress, None)

    def verify(self) -> int:
        """Verify the audit log and every row that it tells of; return the number of entries.

        Raises:
            AuditError: Names the first bad entry.
            RowError: The log is in order, and a row says something else.
        """
        return int(self.desk.audit.verify()["size"])

    def table(self) -> ShownTable:
        """Return its models."""
        found = self.models.table()
        return ShownTable(found.columns, found.rows, repr(self))

    def _here(self, purpose: str) -> Ledger:
        if self._ledger is None:
            raise UsageError(
                f"{purpose} takes images or weights, which are where {self._where} is",
                "open the ledger on its own machine, by its folder",
            )
        problem: LedgerError | None = self._ledger.problem()
        if problem is not None:
            raise problem
        return self._ledger
