"""Rows are compared with what the verified audit log says before anything rests on them.

Rows are a cache of the log: each method of :class:`TrustedRows` checks those that one kind of work, signature, copy or
answer rests on.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

from ledger.audit.chain import Head, leaf_digest
from ledger.audit.events import AuditEvent
from ledger.digest import read_json
from ledger.domain.events.event import EventKind
from ledger.domain.requests import Request
from ledger.domain.states import RequestState
from ledger.errors import AuditError, RowError
from ledger.store.audit.log import AuditLog
from ledger.store.repositories.projections import Projections

from .differences import Difference, compare
from .packed_rows import Key
from .replayed import ENDINGS, EVERYBODY, ROW, SESSIONS, Replayed
from .trusted_state import TrustedState, event_of

DESCRIBING = (EventKind.MODEL_REGISTERED, EventKind.MODEL_DATA_CHANGED, EventKind.MODEL_ADOPTED)
"""Kinds of entries that hold the digest of a model's row."""


class TrustedRows:
    """Checks rows inside one transaction; each method raises :class:`~ledger.errors.RowError` for one that differs.

    Args:
        state: What the log says, up to the last transaction that looked.
        log: The log as this transaction sees it.
        projections: The rows as this transaction sees them.
    """

    def __init__(self, state: TrustedState, log: AuditLog, projections: Projections) -> None:
        self._state = state
        self._log = log
        self._projections = projections
        self._known: Head | None = None
        """Up to which entry this transaction has taken the log into account."""

    def catch_up(self) -> None:
        """Verify the entries that are new.

        Raises:
            AuditError: The log does not verify.
        """
        self._replayed()

    def _replayed(self) -> Replayed:
        """Return what the log says up to the last entry that this transaction sees; it is read once unless it grows."""
        if self._known is None or self._state.head != self._known or self._log.head() != self._known:
            self._state.catch_up(self._log)
            self._known = self._state.head
        return self._state.replayed

    def model(self, name: str) -> None:
        """Check a model, its versions and their bases, the alias in use, and when it moved.

        Raises:
            AuditError: The log does not verify.
            RowError: A row is not what the log says.
        """
        replayed = self._replayed()
        _require(compare(replayed, self._projections, "models", name=name))
        for table in ("versions", "aliases", "alias_moves", "basis_terms"):
            _require(compare(replayed, self._projections, table, model_id=name))

    def live(self, name: str) -> None:
        """Check a model and its live version against the few entries that say what they are.

        That is enough to show somebody what is live, and takes no longer for a long log. It finds changed rows and
        changed entries. It does not find that an entry is missing or that the log was rewritten: whoever acts on a
        row calls :meth:`covered`, which verifies the whole log.

        Raises:
            AuditError: One of the entries is not as it was written.
            RowError: A row is not what they say.
        """
        known = Replayed()
        created = self._newest(EventKind.VERSION_CREATED, name)
        if created is not None:
            known.apply(created)
        described = [entry for kind in DESCRIBING if (entry := self._newest(kind, name)) is not None]
        if described:
            newest = max(described, key=lambda entry: entry.seq)
            digest, purge = getattr(newest.payload, "row", None), self._newest(EventKind.MODEL_PURGED, name)
            known.rows["models"][name,] = {
                "anchor": 0 if purge is None else getattr(purge.payload, "anchor", 0),
                # Earlier releases recorded no digest of the row.
                **({} if digest is None else {ROW: digest}),
            }
        _require(compare(known, self._projections, "models", name=name))
        _require(compare(known, self._projections, "aliases", model_id=name))
        for _, number in known.rows["versions"]:
            _require(compare(known, self._projections, "versions", model_id=name, number=number))

    def _newest(self, kind: EventKind, model: str) -> AuditEvent | None:
        entry = self._log.newest(kind, model=model)
        if entry is None:
            return None
        problem = AuditError(f"entry {entry.seq} was altered: its digest does not match its text", seq=entry.seq)
        if leaf_digest(entry.leaf) != entry.digest:
            raise problem
        event = event_of(*entry, read_json(entry.leaf))
        if (event.kind, event.model) != (kind, model):
            raise problem
        return event

    def covered(self, name: str) -> None:
        """Check a model as :meth:`model` does, and that entries cover all of its rows.

        Raises:
            AuditError: The log does not verify.
            RowError: A row is not what the log says, or an earlier release stored it and no entry covers all of it.
        """
        self.model(name)
        self._require_bound(name)

    def current(self, name: str) -> None:
        """Check what a request rests on: a model, its alias, the live version and its anchor, and the first version.

        Other versions are left to those who use them: a model may have thousands, and a request waits meanwhile.

        Raises:
            AuditError: The log does not verify.
            RowError: A row is not what the log says, or an earlier release stored one of the model's and no entry
                covers all of it.
        """
        replayed = self._replayed()
        _require(compare(replayed, self._projections, "models", name=name))
        _require(compare(replayed, self._projections, "aliases", model_id=name))
        anchor = replayed.rows["models"][name,]["anchor"]
        live = (row["version"] for key, row in replayed.rows["aliases"].items() if key[0] == name)
        self.versions(name, frozenset({0, anchor, *live}))
        self._require_bound(name)

    def versions(self, name: str, numbers: frozenset[int]) -> None:
        """Check some versions of a model, and their bases."""
        replayed = self._replayed()
        _require(compare(replayed, self._projections, "versions", model_id=name, number=numbers))
        _require(compare(replayed, self._projections, "basis_terms", model_id=name, version=numbers))

    def forgetting(self, name: str, forgotten: frozenset[int]) -> None:
        """Check the versions of a model that, as the log says, have forgotten just these classes, and their bases."""
        rows, wanted = self._replayed().rows["versions"], sorted(forgotten)
        found = (number for model, number in rows if model == name and rows[model, number]["forgotten"] == wanted)
        self.versions(name, frozenset(found))

    def _require_bound(self, name: str) -> None:
        unbound = self.unbound(name)
        if unbound:
            table, key = unbound[0]
            raise RowError(
                f"an earlier release stored {len(unbound)} rows of {name} that no entry of the audit log covers whole: "
                f"the first is {table} {'/'.join(str(part) for part in key)}",
                f"look at them, then bind them to the log: unledger audit adopt {name}",
            )

    def unbound(self, name: str) -> list[tuple[str, Key]]:
        """Return table and key of each row of a model that no entry covers whole."""
        return self._replayed().unbound_rows(name)

    def request(self, number: int) -> None:
        """Check a request."""
        _require(compare(self._replayed(), self._projections, "requests", id=number))

    def requests_of(self, numbers: frozenset[int]) -> None:
        """Check some requests."""
        if numbers:
            _require(compare(self._replayed(), self._projections, "requests", id=numbers))

    def claimable(self, request: Request) -> None:
        """Check a request that was just claimed, before that is recorded.

        Raises:
            RowError: The log tells of no such request, of another one, or of one that no worker may claim.
        """
        self._require_state(request, {RequestState.QUEUED, RequestState.RUNNING})

    def _require_state(self, request: Request, states: Collection[RequestState]) -> None:
        replayed = self._replayed()
        recorded = replayed.rows["requests"].get((request.id,), {})
        moved = {"state", "lease_owner", "lease_epoch", "updated_at"}
        found = compare(replayed, self._projections, "requests", id=request.id)
        _require(difference for difference in found if difference.column not in moved)
        if recorded["state"] not in states:
            _require(iter([Difference("requests", (request.id,), "state", recorded["state"], min(states).value)]))

    def requests(self, model: str) -> None:
        """Check all requests of a model."""
        _require(compare(self._replayed(), self._projections, "requests", model_id=model))

    def requests_in(self, model: str, state: RequestState) -> None:
        """Check the requests of a model that are in a state, as the log or as their rows say.

        That is enough to show who is among them. Whoever acts on that calls :meth:`requests`.
        """
        recorded = self._replayed().rows["requests"]
        wanted = {key for key, row in recorded.items() if row["state"] == state and row["model_id"] == model}
        numbers = {number for (number,) in wanted} | self._projections.requests_in(model, state)
        self.requests_of(frozenset(numbers))

    def class_space(self, model: str, class_index: int, spec_digest: str) -> None:
        """Check a class space."""
        replayed = self._replayed()
        key = {"model_id": model, "class_index": class_index, "spec_digest": spec_digest}
        _require(compare(replayed, self._projections, "class_spaces", **key))

    def class_spaces_of(self, model: str, specs: frozenset[str]) -> None:
        """Check the class spaces of a model that were collected to some specifications."""
        if specs:
            replayed = self._replayed()
            _require(compare(replayed, self._projections, "class_spaces", model_id=model, spec_digest=specs))

    def class_spaces(self, model: str) -> None:
        """Check all class spaces of a model."""
        _require(compare(self._replayed(), self._projections, "class_spaces", model_id=model))

    def kept_results(self, model: str) -> None:
        """Check everything that is kept of a model."""
        _require(compare(self._replayed(), self._projections, "kept_results", model_id=model))

    def objects(self, model: str) -> None:
        """Check what the rows say of the stored objects of a model: whether they were destroyed, and when."""
        replayed = self._replayed()
        digests = {row["weights"] for key, row in replayed.rows["versions"].items() if key[0] == model}
        digests |= {row["blob"] for key, row in replayed.rows["class_spaces"].items() if key[0] == model}
        _require(compare(replayed, self._projections, "blobs", digest=frozenset(digests)))

    def unrecorded(self, table: str, keys: Iterable[Key]) -> None:
        """Check that the log knows of no row under the keys of new rows: numbers are given again where rows are gone.

        Raises:
            AuditError: The log does not verify.
            RowError: The log tells of such a row, which somebody removed.
        """
        recorded = self._replayed().rows[table]
        _require(Difference(table, key, None, recorded[key], None) for key in keys if key in recorded)

    def needed(self, referred: frozenset[str]) -> None:
        """Check, before what nothing refers to is removed for good, that rows refer to all that the log still needs.

        Args:
            referred: Digests of the objects that rows refer to.

        Raises:
            AuditError: The log does not verify.
            RowError: An object was stored and not destroyed, as the log says, and no row refers to it.
        """
        replayed = self._replayed()
        stored = (key for key, row in replayed.rows["blobs"].items() if row["destroyed_at"] is None)
        forsaken = frozenset(digest for (digest,) in stored if digest not in referred)
        if forsaken:
            _require(compare(replayed, self._projections, "blobs", digest=forsaken))

    def references(self) -> None:
        """Check, before objects are destroyed for good, all rows that refer to objects: objects are shared by models.

        Raises:
            AuditError: The log does not verify.
            RowError: A row is not what the log says.
        """
        replayed = self._replayed()
        for table in ("models", "versions", "class_spaces", "kept_results"):
            _require(compare(replayed, self._projections, table))

    def of_results_alone(self, digests: Iterable[str]) -> frozenset[str]:
        """Return which objects are neither the weights of a version nor a class space, as the log says.

        They are, or were, parts of kept results, which can be computed again: whoever destroys them loses nothing, even
        if the row of a kept result was changed.

        Raises:
            AuditError: The log does not verify.
        """
        rows = self._replayed().rows
        weights = {row["weights"] for row in rows["versions"].values()}
        return frozenset(digests) - weights - {row["blob"] for row in rows["class_spaces"].values()}

    def queue(self) -> None:
        """Check, before somebody is told that nothing is left to do, that no request was hidden.

        The requests in each state are counted, and compared one by one only where a number differs: there may be many.

        Raises:
            AuditError: The log does not verify.
            RowError: A request is missing, or is in another state than the log says.
        """
        replayed = self._replayed()
        if self._state.requests_by_state() != self._projections.requests_by_state():
            _require(compare(replayed, self._projections, "requests"))

    def vanished(self, requests: Sequence[Request]) -> None:
        """Check requests whose worker vanished, as their rows said before they were set aside.

        Raises:
            RowError: The log tells of no such request, of another one, or of one that nobody carries out.
        """
        for request in requests:
            self._require_state(request, {RequestState.RUNNING})

    def evidence(self, model: str) -> None:
        """Check all evidence on a model's versions."""
        _require(compare(self._replayed(), self._projections, "evidence", model_id=model))

    def certificate(self, number: int) -> None:
        """Check a certificate."""
        _require(compare(self._replayed(), self._projections, "certificates", id=number))

    def certificates(self) -> None:
        """Check all certificates."""
        _require(compare(self._replayed(), self._projections, "certificates"))

    def token(self, name: str) -> None:
        """Check a token, its scopes included."""
        _require(compare(self._replayed(), self._projections, "tokens", id=name))

    def tokens(self) -> None:
        """Check all tokens."""
        _require(compare(self._replayed(), self._projections, "tokens"))

    def is_open(self, session: str) -> bool:
        """Whether the log tells of a browser session, and of no end of it."""
        known = self._state.catch_up(self._log).rows[SESSIONS]
        return (session,) in known and bool(known[session,]["open"])

    def was_opened(self, session: str) -> bool:
        """Whether the log tells of a browser session of this name that did not end by itself long ago."""
        return (session,) in self._state.catch_up(self._log).rows[SESSIONS]

    def open_sessions(self, name: str | None) -> tuple[str, ...]:
        """Return what names the browser sessions of a person, or of everybody, that nobody ended."""
        return tuple(session for (session,) in self._state.catch_up(self._log).open_sessions(name))

    def sessions_ended_at(self, name: str) -> datetime | None:
        """Return when all sessions of a person were ended last; None if they never were."""
        endings = self._state.catch_up(self._log).rows[ENDINGS]
        found: list[datetime] = [endings[key]["at"] for key in ((EVERYBODY,), (name,)) if key in endings]
        return max(found, default=None)

    def webhooks(self) -> None:
        """Check all webhooks."""
        _require(compare(self._replayed(), self._projections, "webhooks"))

    def webhook(self, number: int) -> None:
        """Check a webhook: where messages go to, and about what."""
        _require(compare(self._replayed(), self._projections, "webhooks", id=number))


def _require(differences: Iterator[Difference]) -> None:
    difference = next(differences, None)
    if difference is not None:
        raise RowError(
            f"the database was changed behind the audit log: {difference}",
            "nothing was done; see all differences with: unledger fsck, and restore the row or the database",
        )
