"""The connection is lost while a result is committed: the worker finds out what became of it, and does it once."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from ledger.config import find_config
from ledger.domain.states import RequestState
from ledger.errors import RetryLaterError, UnreachableError
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.progress import Silent
from ledger.service.requests import claim_end
from ledger.service.requests.claim_end import ClaimEnd
from ledger.service.requests.worker import work
from ledger.store.database.engine import open_engine
from tests.faults import queue_fleet as fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger.service.computation.compute import Compute

pytestmark = pytest.mark.postgres
COMMIT = b"COMMIT"


@dataclass
class Line:
    """A socket between client and server that can be cut at the word COMMIT."""

    server: str
    folder: Path
    cuts: list[str] = field(default_factory=list)
    """What happens at the next COMMIT that an armed client sends: ``before``, ``after`` or ``late``."""
    _listener: socket.socket = field(init=False)

    def open(self) -> None:
        """Listen where a client looks for the server."""
        self.folder.mkdir()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept nobody any more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.server)
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            with suppress(OSError):
                while data := client.recv(65536):
                    if COMMIT in data and self.cuts:
                        self._cut(self.cuts.pop(0), data, client, server)
                        break
                    server.sendall(data)
            # The server ends a session when its client hangs up, after it has carried out what it was sent.
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            back.join()

    @staticmethod
    def _cut(how: str, data: bytes, client: socket.socket, server: socket.socket) -> None:
        # The way back first: whatever the server answers to the commit never arrives.
        client.shutdown(socket.SHUT_RDWR)
        if how == "late":
            time.sleep(0.5)
        if how != "before":
            server.sendall(data)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        # Not close: the thread that listens to the target would not notice, and nor would who is at its other end.
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The line to the server."""
    host = make_url(postgres_url).query["host"]
    # A socket's path must be short.
    opened = Line(f"{host}/.s.PGSQL.5432", tmp_path_factory.mktemp("l") / "s")
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def ledger(line: Line, postgres_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with one model and one request, reached through the line."""
    url = make_url(postgres_url).update_query_dict({"host": str(line.folder)})
    fleet.found_ledger(tmp_path / "ledger", url.render_as_string(hide_password=False), ("model",), 9)
    opened = open_ledger(find_config(tmp_path / "ledger"), "worker")
    fleet.file_requests(opened, ("model",), 1)
    yield opened
    opened.close()


def once_computed(act: Callable[[], None]) -> Callable[[Ledger, str], Compute]:
    """Let something happen when the first weights are computed, just before they are committed."""
    waiting = [act]

    def open_model(ledger: Ledger, name: str) -> Compute:
        compute = fleet.opener(fleet.Pace(compute=0))(ledger, name)

        def then(*arguments: Any) -> Any:
            proposal = compute(*arguments)
            while waiting:
                waiting.pop()()
            return proposal

        return then

    return open_model


def check(ledger: Ledger) -> None:
    """Check that the request was fulfilled once, by one version."""
    accounts = fleet.accounts(ledger.config.root, 1)
    assert (accounts["lost"], accounts["doubled"], accounts["stale"], accounts["wrong"]) == (0, 0, 0, [])
    with ledger.database.read() as tx:
        model = tx.models.get("model")
        assert [version.request_id for version in tx.versions.all(model)] == [None, 1]


@pytest.mark.parametrize(
    "cuts",
    [["before"], ["after"], ["late"], ["before", "after"], ["before", "before", "late"]],
    ids="+".join,
)
def test_a_commit_whose_answer_was_lost_is_done_once(ledger: Ledger, line: Line, cuts: list[str]) -> None:
    [done] = work(ledger, Silent(), open_model=once_computed(lambda: line.cuts.extend(cuts)))
    assert line.cuts == []
    assert (done.request.state, done.error) == (RequestState.FULFILLED, None)
    assert done.version is not None
    assert done.version.number == 1
    # It was settled within the claim that computed the weights: nobody had to do it again.
    assert done.request.lease_epoch == 1
    check(ledger)


@pytest.mark.parametrize("cut", ["before", "after", "late"])
def test_a_receipt_whose_commit_was_lost_is_given_once(
    ledger: Ledger, line: Line, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    # The classes are forgotten already by the time the request is looked at, so no weights are computed.
    fleet.file_requests(ledger, ("model",), 1)
    outcomes = work(ledger, Silent(), open_model=fleet.opener(fleet.Pace()))
    assert next(outcomes).version is not None
    fulfil = ClaimEnd.fulfil

    def cut_then_fulfil(*arguments: Any) -> Any:
        line.cuts.append(cut)
        return fulfil(*arguments)

    monkeypatch.setattr(ClaimEnd, "fulfil", cut_then_fulfil)
    [done] = outcomes
    assert (done.request.state, done.request.no_op, done.version) == (RequestState.FULFILLED, True, None)
    with ledger.database.read() as tx:
        assert len([e for e in tx.audit.events() if e.kind == "request.fulfilled" and e.data["no_op"]]) == 1


def test_a_server_that_throws_out_the_committing_session_loses_nothing(ledger: Ledger, postgres_url: str) -> None:
    """The server itself ends the session in the middle of its COMMIT, once."""
    other = open_engine(postgres_url)
    with other.begin() as connection:
        # Runs when a transaction that made a version commits.
        connection.execute(text("CREATE TABLE thrown_out (once boolean); INSERT INTO thrown_out VALUES (true)"))
        connection.execute(
            text(
                "CREATE FUNCTION throw_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF nextval('turns') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; "
                "RETURN NULL; END $$"
            )
        )
        connection.execute(text("CREATE SEQUENCE turns"))
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON versions DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION throw_out()"
            )
        )
    [done] = work(ledger, Silent(), open_model=fleet.opener(fleet.Pace()))
    assert (done.request.state, done.request.lease_epoch) == (RequestState.FULFILLED, 1)
    with other.begin() as connection:
        # A sequence is not rolled back: both attempts came that far.
        assert connection.execute(text("SELECT last_value FROM turns")).scalar_one() == 2
    other.dispose()
    check(ledger)


def test_somebody_elses_commit_is_not_taken_for_ones_own(ledger: Ledger, line: Line, tmp_path: Path) -> None:
    """The lease is lost during the commit in doubt, and another worker fulfils the request."""
    other = open_ledger(find_config(tmp_path / "ledger"), "other")

    def overtake() -> None:
        with other.database.engine.begin() as connection:
            connection.execute(text("UPDATE requests SET lease_expires = 1"))
        assert len(list(work(other, Silent(), open_model=fleet.opener(fleet.Pace())))) == 1
        line.cuts.append("before")

    with pytest.raises(RetryLaterError):
        list(work(ledger, Silent(), open_model=once_computed(overtake)))
    other.close()
    check(ledger)


def test_a_database_that_stays_away_leaves_the_request_to_the_next_worker(
    ledger: Ledger, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_end, "COMMIT_ATTEMPTS", 3)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    away = ["before"] * 3
    with pytest.raises(UnreachableError, match="request 1 could not be committed"):
        list(work(ledger, Silent(), open_model=once_computed(lambda: line.cuts.extend(away))))
    with ledger.database.read() as tx:
        assert tx.requests.get(1).state is RequestState.QUEUED
    [done] = work(ledger, Silent(), open_model=fleet.opener(fleet.Pace()))
    assert done.request.lease_epoch == 2
    check(ledger)
