"""The person at the keyboard, and the ledger they mean."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from ledger.errors import RefusedError, UsageError
from ledger.service.actor import acting_as

from .command import checked_text
from .render import advise, moment, say, show_times_in
from .suggestions import suggest

if TYPE_CHECKING:
    from ledger.config import Config
    from ledger.desk.desk import Desk
    from ledger.desk.remote.desk import RemoteDesk
    from ledger.documents.document import Document
    from ledger.service.ledger import Ledger
    from ledger.service.progress import Progress

SERVER = "UNLEDGER_SERVER"
TOKEN = "UNLEDGER_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable with what lets us into a server."""


@dataclass(frozen=True)
class Session:
    """The global options of one command."""

    folder: Path | None
    actor: str | None
    device: str = "auto"
    server: str | None = None
    """Address of the server whose ledger is meant; None for a ledger of this machine."""
    opened: "list[Ledger]" = field(default_factory=list, compare=False)
    """Every ledger that was opened."""
    facts: "list[Document]" = field(default_factory=list, compare=False)
    """What a server said of its ledger."""

    @property
    def who(self) -> str:
        """The actor to record.

        Raises:
            UsageError: The name is not text.
        """
        return checked_text("actor", acting_as(self.actor))

    @property
    def config(self) -> "Config":
        """Where the ledger is.

        Raises:
            NotFoundError: There is none.
            UsageError: Its configuration cannot be read, or it is on another machine.
        """
        from ledger.service.ledger import find_ledger

        if self.server is not None:
            raise UsageError(
                f"this takes images, weights or files of the ledger, which are where {self.server} is",
                "run it on the ledger's machine, without --server",
            )

        config = find_ledger(self.folder)
        show_times_in(config.zone)
        return config

    def now(self, desk: "Desk") -> datetime:
        """Return the time that dates such as ``tomorrow`` count from."""
        return self.opened[-1].clock() if self.opened else moment(desk.upkeep.facts()["now"])

    def _known_facts(self) -> "Document":
        """Return what the server says of its ledger."""
        if not self.facts:
            with self.desk():
                """Opening it asks."""
        return self.facts[-1]

    @property
    def own_config(self) -> "Config | None":
        """Where the ledger is on this machine, so that no output replaces a part of it; None for one that is not.

        Raises:
            NotFoundError: There is none.
        """
        return None if self.server is not None else self.config

    @property
    def zone(self) -> tzinfo:
        """The ledger's time zone.

        Raises:
            NotFoundError: There is no ledger.
        """
        return self.config.zone if self.server is None else zone_called(self._known_facts()["time_zone"])

    @contextmanager
    def ledger(self, *, warn: bool = True, acts: bool = False) -> "Iterator[Ledger]":
        """Open the ledger for one command.

        Args:
            warn: Say so if the keys or the database are not those that belong to the ledger.
            acts: Refuse then, before anything else is asked or computed.

        Raises:
            KeysError: The keys are missing, or another ledger's, and the command acts.
            OlderDatabaseError: The database is older than its newest checkpoint, and the command acts.
            UsageError: A number is larger than the database can hold.
        """
        from ledger.service.ledger import open_ledger

        opened = open_ledger(self.config, self.who, device=self.device, tell=lambda sentence: say(suggest(sentence)))
        self.opened.append(opened)
        try:
            problem = opened.problem() if warn or acts else None
            if problem is not None and acts:
                raise problem
            yield opened
            if problem is not None:
                # Who was going to write was refused by now; who reads gets an answer, and should know.
                say(("warning:", "bold yellow"), f" {problem.message}")
                if problem.hint:
                    advise("hint:", problem.hint)
        except OverflowError as error:
            # SQLite's driver raises this for a number beyond 64 bits.
            raise UsageError(f"a number is too large: {error}", "check the numbers on the command line") from error
        finally:
            opened.close()

    @contextmanager
    def desk(self, *, acts: bool = False, progress: "Progress | None" = None) -> "Iterator[Desk]":
        """Open the desk for one command.

        Args:
            acts: Refuse at once what :meth:`ledger` refuses.
            progress: Follows long work.

        Raises:
            KeysError: The keys are missing, or another ledger's, and the command acts.
            OlderDatabaseError: The database is older than its newest checkpoint, and the command acts.
            UsageError: A number is larger than the database can hold.
        """
        if self.server is not None:
            with self._remote_desk(self.server, acts=acts) as there:
                yield there
            return
        from ledger.desk.local.desk import LocalDesk

        with self.ledger(acts=acts) as ledger:
            yield LocalDesk(ledger, progress)

    @contextmanager
    def _remote_desk(self, server: str, *, acts: bool) -> "Iterator[RemoteDesk]":
        # Imported here: what speaks HTTP takes a while to import, and most commands speak to a ledger of this machine.
        from ledger.desk.remote.client import ServerClient, is_private
        from ledger.desk.remote.desk import RemoteDesk
        from ledger.desk.remote.problems import error_of

        token = os.environ.get(TOKEN) or None
        with RemoteDesk(ServerClient(server, token)) as desk:
            if token is not None and not is_private(server):
                say(("warning:", "bold yellow"), f" {server} is not encrypted: whoever listens can take the token")
            facts = desk.upkeep.facts()
            self.facts.append(facts)
            show_times_in(zone_called(facts["time_zone"]))
            told = facts["problem"]
            problem = None if told is None else error_of(500, {**told, "detail": told["message"]})
            if problem is not None and acts:
                raise problem
            yield desk
            if problem is not None:
                say(("warning:", "bold yellow"), f" {problem.message}")
                if problem.hint:
                    advise("hint:", problem.hint)

    def verifier_key(self) -> "Document":
        """Return the document of the verifier key, which is there without a database too.

        Raises:
            NotFoundError: There is no key.
        """
        if self.server is not None:
            with self.desk() as desk:
                return desk.audit.key()
        from ledger.documents.audit import key_document
        from ledger.service.signing import load_signer

        return key_document(str(load_signer(self.config).verifier))

    def what_was_done(self) -> str:
        """Say what changed, for somebody who did not get the answer."""
        if not self.opened:
            return "what the command was asked for is done; look before you repeat it"
        done = [ledger.written for ledger in self.opened if ledger.written.last]
        if not done:
            return "nothing was recorded in the ledger"
        after = done[0].first - 1
        return f"the change was made, as {done[0]}; do not repeat it. See: unledger audit log --after {after}"


def server_meant(server: str | None, folder: Path | None, actor: str | None) -> str | None:
    """Return the address of the server that the global options mean; None where they mean a ledger of this machine.

    Raises:
        UsageError: They name both, or somebody to act in the place of whoever the token was made for.
    """
    if server is not None and folder is not None:
        raise UsageError("--server and --ledger name two ledgers", "one of the two")
    meant = server or (os.environ.get(SERVER) or None if folder is None else None)
    if meant is not None and actor is not None:
        raise UsageError("who acts on a server is whoever the token was made for", "leave out --actor")
    return meant


def zone_called(name: str) -> tzinfo:
    """Return the time zone of a server's ledger; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if name != "UTC":
            say(("warning:", "yellow"), f" this machine does not know the time zone {name}: times are in UTC")
        return UTC


def session(ctx: typer.Context) -> Session:
    """Return the global options."""
    found = ctx.find_object(Session)
    return found if found is not None else Session(None, None)


def split_reference(reference: str) -> tuple[str, int | None]:
    """Read ``MODEL``, ``MODEL:N`` or ``MODEL@live``; None means the live version.

    Raises:
        UsageError: What follows the colon is not a version number.
    """
    name, colon, number = reference.partition(":")
    if not colon:
        return reference.removesuffix("@live"), None
    if not number.isdecimal():
        raise UsageError(f"{reference!r} names no version", "write MODEL, MODEL:N or MODEL@live")
    return name, int(number)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone easily.

    Raises:
        RefusedError: The answer is no, or nobody is there to ask.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise RefusedError("this needs a confirmation and nobody is at the keyboard", "add --yes")
    if not typer.confirm(question, err=True):
        raise RefusedError("not confirmed; nothing was changed")
