"""Before anything is written: are these the keys of this ledger, and is its database the newest one?

Every writing transaction asks the guard first, so no use case can forget to. Reading goes on, with a warning.
"""

import json
import time
from dataclasses import dataclass

from ledger.audit.chain import Head
from ledger.audit.signed_notes import Checkpoint, Verifier
from ledger.audit.verification import ExternalRecord
from ledger.config import Config
from ledger.errors import KeysError, LedgerError, NotFoundError, OlderDatabaseError
from ledger.store.audit.log import AuditLog
from ledger.store.unit_of_work import Transaction

from .kept_checkpoints import newest_elsewhere, newest_here
from .signing import FILE, load_signer

LOOK_SECONDS = 600.0
"""How often a process looks at the checkpoints that are kept elsewhere."""


@dataclass(frozen=True)
class _Seen:
    """What was found in order: this checkpoint, in the log that had this head and names this key."""

    known: Checkpoint
    head: Head
    named: str | None


class Guard:
    """Refuses to write with the keys of another ledger or to an older database.

    Args:
        config: Where the ledger lives.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._seen: _Seen | None = None
        self._look_at = 0.0

    def __call__(self, tx: Transaction) -> None:
        """Check a transaction that is going to write.

        Raises:
            KeysError: The signing key is missing, or another ledger's.
            OlderDatabaseError: The database lacks entries that were signed.
            SignatureError: The remembered checkpoint is not genuine.
            LedgerError: The key, or the remembered checkpoint, cannot be read.
        """
        log = tx.audit
        # A log that goes on from what was seen has the same first entry: it is not read again for every transaction.
        seen = self._seen if self._seen is not None and log.continues(self._seen.head) else None
        named = named_key(log) if seen is None else seen.named
        verifier = _own_verifier(named, self._config)
        if verifier is None:
            return
        known = newest_here(self._config, verifier)
        if known is not None and (seen is None or seen.known.size < known.size):
            require_continued(log, known)
            self._seen = _Seen(known, log.head(), named)
        if time.monotonic() >= self._look_at:
            require_continued_elsewhere(log, self._config, verifier)
            self._look_at = time.monotonic() + LOOK_SECONDS


def require_own_keys(log: AuditLog, config: Config) -> Verifier | None:
    """Return the ledger's verifier if its keys are here; None where an earlier release named none and none is here.

    Raises:
        KeysError: The signing key is missing, or is not the one that the log's first entry names.
        LedgerError: It cannot be read.
    """
    return _own_verifier(named_key(log), config)


def _own_verifier(named: str | None, config: Config) -> Verifier | None:
    """Return the ledger's verifier, whose key the log's first entry names."""
    try:
        verifier = load_signer(config).verifier
    except NotFoundError as error:
        if named is None:
            return None
        raise KeysError(
            f"the keys of this ledger are missing: {error.message}",
            f"restore {config.keys_path} from where you keep it; nothing was changed",
        ) from error
    if named is not None and str(verifier) != named:
        raise KeysError(
            f"the keys in {config.keys_path} are not those of this ledger: {FILE} there is {verifier.name}, the "
            f"ledger was created with {named.partition('+')[0]}",
            "set keys in unledger.toml to the folder of this ledger's keys, or restore it; nothing was changed",
        )
    return verifier


def named_key(log: AuditLog) -> str | None:
    """Return the verifier key that the log's first entry names; None in ledgers of before there were checkpoints."""
    try:
        key = json.loads(log.entry(1).leaf)["data"].get("key")
    except (NotFoundError, ValueError, LookupError, AttributeError, TypeError):
        # Not an entry that this release writes: verification says more about it.
        return None
    return key if isinstance(key, str) else None


def require_continued(log: AuditLog, known: Checkpoint) -> None:
    """Check that the database has all entries that a checkpoint signed.

    Raises:
        OlderDatabaseError: It has fewer, or others.
        AuditError: The stored hash tree is damaged.
    """
    size = log.head().size
    hint = "put the newer database back; if it is lost, see what that means and go on with: unledger recover"
    if size < known.size:
        last = json.loads(log.entry(size).leaf)["at"] if size else "the beginning"
        raise OlderDatabaseError(
            f"this database is older than its newest checkpoint: entries {size + 1} to {known.size} are missing, "
            f"that is everything since {last}",
            hint,
            size=size,
            signed=known.size,
        )
    if log.root(known.size) != known.root:
        raise OlderDatabaseError(
            f"this database does not continue its newest checkpoint: the first {known.size} of its {size} "
            "entries are not those that were signed",
            f"see: unledger audit verify; {hint}",
            size=size,
            signed=known.size,
        )


def require_continued_elsewhere(log: AuditLog, config: Config, verifier: Verifier) -> None:
    """Check that the database has all entries that the newest checkpoint in ``checkpoint_to`` signed.

    Raises:
        OlderDatabaseError: It has fewer, or others, and no recovery gave them up.
        AuditError: The stored hash tree is damaged.
    """
    known = newest_elsewhere(config, verifier)
    if known is not None:
        require_continued(log, known)


def problem_of(log: AuditLog, config: Config) -> LedgerError | None:
    """Return why nothing may be written here, as far as is known without asking another place; None if it may."""
    try:
        _known_continued(log, config)
    except LedgerError as error:
        return error
    return None


def kept_record(config: Config, log: AuditLog) -> ExternalRecord:
    """Return what is known of the audit log from outside the database: the last checkpoint that this ledger signed.

    What the guard refuses writers for is left out: who only reads is warned of it.
    """
    try:
        # A reader may also see the log as it was before the checkpoint.
        known = _known_continued(log, config)
    except LedgerError:
        return ExternalRecord()
    return ExternalRecord(checkpoints=(known,)) if known is not None else ExternalRecord()


def _known_continued(log: AuditLog, config: Config) -> Checkpoint | None:
    """Return the checkpoint beside the key, if there is one; the keys are the ledger's, and the log goes on from it."""
    verifier = require_own_keys(log, config)
    known = newest_here(config, verifier) if verifier is not None else None
    if known is not None:
        require_continued(log, known)
    return known
