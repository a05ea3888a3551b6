"""What is known of the entries that an older database lacks: checkpoints that signed them, and their state notes."""

from dataclasses import dataclass

from ledger.audit.signed_notes import Checkpoint, Verifier
from ledger.config import Config
from ledger.errors import LedgerError, OlderDatabaseError, SignatureError
from ledger.service.audit.state_note import LONGEST, ModelNote, RequestNote, StateNote
from ledger.service.guard import require_continued
from ledger.service.kept_checkpoints import (
    STATE,
    STATE_SUFFIX,
    SUFFIX,
    elsewhere,
    elsewhere_newest_first,
    file_name,
    newest_here,
)
from ledger.service.signing import last_signed, read_kept
from ledger.store.audit.log import AuditLog


@dataclass(frozen=True)
class Lost:
    """The checkpoints that a database does not continue."""

    checkpoint: Checkpoint
    """The newest."""
    notes: tuple[tuple[str, str], ...]
    """File name and signed note of each, the newest first."""
    states: tuple[StateNote, ...]
    """What was forgotten at those, the newest first; those that were found."""

    @property
    def models(self) -> tuple[ModelNote, ...]:
        """What each model had forgotten in the end."""
        return self.states[0].models if self.states else ()

    @property
    def requests(self) -> tuple[RequestNote, ...]:
        """The requests that something happened to, by number, as they stood in the end."""
        last: dict[int, RequestNote] = {}
        for state in reversed(self.states):
            last |= {note.number: note for note in state.requests}
        return tuple(last[number] for number in sorted(last))

    @property
    def since(self) -> int:
        """The entry after which no request that something happened to is missing in :attr:`requests`."""
        reach = self.checkpoint.size
        for state in self.states:
            if state.size >= reach:
                reach = min(reach, state.since)
        return reach


def find_lost(log: AuditLog, config: Config, verifier: Verifier) -> Lost | None:
    """Return what a database lacks; None if it continues every checkpoint that is known and was not given up.

    Raises:
        SignatureError: The remembered checkpoint is not genuine.
        LedgerError: It cannot be read.
    """
    found: dict[str, tuple[Checkpoint, str]] = {}
    states: list[StateNote] = []
    here = newest_here(config, verifier)
    if here is not None and not _continues(log, here):
        found[file_name(here)] = here, last_signed(config) or ""
        states += _open(_read_here(config), verifier)
    there = elsewhere(config)
    if there is not None:
        for checkpoint, name in elsewhere_newest_first(config, verifier):
            if _continues(log, checkpoint):
                break
            found.setdefault(name, (checkpoint, there.read(name)))
            states += _open(_read_there(config, name.removesuffix(SUFFIX) + STATE_SUFFIX), verifier)
    if not found:
        return None
    newest = sorted(found.items(), key=lambda one: one[1][0].size, reverse=True)
    states.sort(key=lambda state: state.size, reverse=True)
    notes = tuple((name, note) for name, (_, note) in newest)
    return Lost(newest[0][1][0], notes, tuple(states))


def _continues(log: AuditLog, checkpoint: Checkpoint) -> bool:
    try:
        require_continued(log, checkpoint)
    except OlderDatabaseError:
        return False
    return True


def _read_here(config: Config) -> str | None:
    try:
        return read_kept(config, STATE, LONGEST)
    except LedgerError:
        # What it says is lost, as if it were not there: the person is told that nothing is known.
        return None


def _read_there(config: Config, name: str) -> str | None:
    there = elsewhere(config)
    try:
        return None if there is None else there.read(name)
    except (OSError, UnicodeDecodeError):
        return None


def _open(note: str | None, verifier: Verifier) -> list[StateNote]:
    try:
        return [] if note is None else [StateNote.open(note, verifier)]
    except SignatureError:
        return []
