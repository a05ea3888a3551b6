"""The audit log, as documents."""

from ledger.desk.asked import ModelKey
from ledger.documents import audit as documents
from ledger.documents.document import Document
from ledger.service.audit.checkpoints import issue_checkpoint, newest_checkpoint
from ledger.service.audit.copies import export_log
from ledger.service.audit.listing import count_events, list_events
from ledger.service.audit.proofs import prove
from ledger.service.audit.verification import verify_log
from ledger.service.ledger import Ledger
from ledger.service.signing import load_signer

from .names import optional_name


class LocalAudit:
    """Answers questions about the audit log.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def log(self, model: ModelKey | None = None, *, after: int = 0, limit: int | None = None) -> Document:
        """Return entries, oldest first: those numbered above ``after``, at most ``limit``.

        Raises:
            NotFoundError: There is no such model.
        """
        name = optional_name(self._ledger, model)
        events = list_events(self._ledger, name, after=after, limit=limit)
        full = len(events) == limit
        more = count_events(self._ledger, name, after=events[-1].seq if events else after) if full else 0
        return documents.audit_document(events, more=more)

    def verify(self, kept: str | None = None, key: str | None = None) -> Document:
        """Verify the log and every row that it tells of.

        Args:
            kept: What was kept elsewhere: a head as ``SIZE:SHA256``, or the contents of a checkpoint or witness file.
            key: Verifier key; None takes the ledger's own.

        Raises:
            AuditError: Names the first bad entry.
            RowError: The log is in order, and a row says something else.
            SignatureError: What was kept is not genuine.
            UsageError: It is neither a file nor a head.
        """
        return documents.verified_log_document(verify_log(self._ledger, kept, key))

    def key(self) -> Document:
        """Return the verifier key.

        Raises:
            NotFoundError: It is missing.
        """
        return documents.key_document(str(load_signer(self._ledger.config).verifier))

    def checkpoint(self) -> Document:
        """Sign how far the log reaches and what it holds.

        Raises:
            OlderDatabaseError: The log lacks entries that were signed.
            AuditError: The log does not continue the last checkpoint. Nothing is signed.
        """
        return documents.checkpoint_document(issue_checkpoint(self._ledger), None)

    def newest_checkpoint(self) -> Document | None:
        """Return the checkpoint that was signed last, None before there is one; nothing is signed."""
        newest = newest_checkpoint(self._ledger)
        return None if newest is None else documents.checkpoint_document(newest, None)

    def proof(self, seq: int) -> Document:
        """Return a proof that an entry stands in the signed log.

        Raises:
            NotFoundError: There is no such entry.
            ConflictError: No checkpoint covers it yet.
        """
        return prove(self._ledger, seq).to_json()

    def export(self) -> list[str]:
        """Return the lines of an export: every entry, and the newest checkpoint."""
        return export_log(self._ledger)
