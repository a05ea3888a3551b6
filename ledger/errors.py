"""The error tree: every failure a caller may meet, each with a stable exit code.

Class, exit code where it is another than above, and meaning::

    LedgerError                      1   something failed
    |-- UsageError                   2   the request cannot be understood, or a file that it names cannot be read
    |   |-- UnknownClassError            no such class label or index
    |   |-- AmbiguousClassError          two classes have the same label
    |   |-- UnknownDataSpecError         no plugin reads this data specification
    |   `-- IdempotencyKeyError          what is sent as an idempotency key cannot be one
    |-- NotFoundError                3   no such model, version, request or file
    |-- ConflictError                4   the ledger's state does not allow this
    |   |-- PurgedError                  what this needs was destroyed for good
    |   |-- TransitionError              this request cannot do that from its state
    |   |-- IdempotencyConflictError     one key, two different bodies
    |   |-- PreconditionError            it changed since the caller looked at it
    |   `-- SchemaVersionError           the database belongs to another release
    |-- IntegrityError               5   bytes are not what the ledger recorded
    |   |-- AuditError                   the audit log does not verify
    |   |-- RowError                     a row is not what the audit log says
    |   |-- KeysError                    the keys are missing, or those of another ledger
    |   |-- OlderDatabaseError           the database lacks entries that were signed
    |   |-- SignatureError               a signed statement is malformed or not genuine
    |   `-- ObjectError                  a stored object is missing or altered
    |-- GateError                    6   the candidate missed a quality gate
    |-- RefusedError                 7   we will not do this
    |   |-- TooFewRetainedError          nothing (or too little) would be left
    |   |-- WeightsError                 weights that do not fit, or may run code
    |   |-- CodeError                    the source code of the network is not what was registered
    |   |-- DataError                    unreadable, empty or mismatched data
    |   |-- NonFiniteError               NaN or infinity in weights or activations
    |   |-- AccuracyError                a network that knows nothing, or its classes under other labels
    |   |-- OutputsError                 a network that returns something other than logits
    |   |-- ImpureNetworkError           a network whose answer depends on more than the image
    |   |-- UnsupportedLayerError        a weight that no handler edits
    |   |-- AuthenticationError          we do not know who asks
    |   `-- ForbiddenError               whoever asks may not do this
    |-- OverdueError                 8   a due date has passed
    |-- AccessError                  1   a file is there, and this account may not read it
    |-- OutputError                 74   the answer could not be written; what the command did is done
    |-- PluginError                  1   a plugin broke its contract
    |-- NotInstalledError            1   a part of the program that this needs is not installed
    `-- RetryLaterError             75   the same call may succeed later
        |-- BusyError                      the database is locked by others; nothing was written
        |-- LeaseHeldError                 another worker carries the request out
        |-- LeaseLostError                 another worker may carry the request out by now
        |-- TransientError                 work met with a full disk, no memory, an object store out of reach
        |-- EngineLostError                whoever runs the units of a computation went away, or is of another kind
        `-- UnreachableError               the database went away; whether a last commit took effect is unknown

``message`` says what is wrong, ``hint`` what to do next. A signal that interrupts a command has no class; the exit code
is 128 plus its number, 130 for Ctrl-C.
"""


class LedgerError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: What is wrong, in one sentence.
        hint: What the reader can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LedgerError):
    """The request cannot be understood, or a file that it names is there but cannot be read.

    A file that is read and holds the wrong thing is an error of its kind: a weights file a :class:`WeightsError`, an
    exported audit log an :class:`AuditError`.
    """

    exit_code = 2


class UnknownClassError(UsageError):
    """No class has this label or index."""


class AmbiguousClassError(UsageError):
    """A label map names two classes alike."""


class UnknownDataSpecError(UsageError):
    """No installed plugin reads this data specification."""


class NotFoundError(LedgerError):
    """There is no such model, version, request or file."""

    exit_code = 3


class ConflictError(LedgerError):
    """The state of the ledger does not allow this."""

    exit_code = 4


class TransitionError(ConflictError):
    """A request cannot do this from the state it is in."""


class IdempotencyKeyError(UsageError):
    """An idempotency key is empty, too long, or cannot stand for what is sent with it."""


class IdempotencyConflictError(ConflictError):
    """An idempotency key was used again for a different request."""


class PreconditionError(ConflictError):
    """What the caller decides about changed since they looked at it.

    Args:
        message: What is wrong, in one sentence.
        hint: What the reader can do about it.
        current: The revision that it has now.
    """

    def __init__(self, message: str, hint: str = "", *, current: str = "") -> None:
        super().__init__(message, hint)
        self.current = current


class PurgedError(ConflictError):
    """What this needs was destroyed for good when the rollback window was closed."""


class SchemaVersionError(ConflictError):
    """The database was written by another release."""


class IntegrityError(LedgerError):
    """Stored bytes are not what the ledger recorded."""

    exit_code = 5


class AuditError(IntegrityError):
    """The audit log does not verify.

    Args:
        message: What is wrong, in one sentence.
        hint: What the reader can do about it.
        seq: Sequence number of the first bad entry.
    """

    def __init__(self, message: str, hint: str = "", *, seq: int) -> None:
        super().__init__(message, hint)
        self.seq = seq


class RowError(IntegrityError):
    """A row of the database is not what the audit history says, or no entry of it covers the row."""


class KeysError(IntegrityError):
    """The signing key is missing, or is not the one that the ledger's first entry names."""


class OlderDatabaseError(IntegrityError):
    """The database lacks entries that a checkpoint signed, or holds others in their place.

    Args:
        message: What is wrong, in one sentence.
        hint: What the reader can do about it.
        size: How many entries the database has.
        signed: How many entries the newest known checkpoint signed.
    """

    def __init__(self, message: str, hint: str = "", *, size: int, signed: int) -> None:
        super().__init__(message, hint)
        self.size = size
        self.signed = signed


class SignatureError(IntegrityError):
    """A signed statement is malformed, or its signature is not genuine."""


class ObjectError(IntegrityError):
    """A stored object is missing, truncated or altered.

    Args:
        message: What is wrong, in one sentence.
        hint: What the reader can do about it.
        fault: The same in a word or two, e.g. ``missing``, ``truncated``, ``altered``, ``key missing``.
    """

    def __init__(self, message: str, hint: str = "", *, fault: str = "altered") -> None:
        super().__init__(message, hint)
        self.fault = fault


class GateError(LedgerError):
    """A candidate missed a quality gate and was not made a version.

    Args:
        message: By how much, a sentence for each gate.
        hint: What the reader can do about it.
        missed: Names of the gates that were missed.
        gates: Digest of the gates that held; None where they have none.
    """

    exit_code = 6

    def __init__(self, message: str, hint: str = "", *, missed: tuple[str, ...] = (), gates: str | None = None) -> None:
        super().__init__(message, hint)
        self.missed = missed
        self.gates = gates


class RefusedError(LedgerError):
    """The operation is refused on principle; nothing was changed."""

    exit_code = 7


class TooFewRetainedError(RefusedError):
    """Fewer classes than the model's minimum would be retained."""


class WeightsError(RefusedError):
    """A checkpoint does not fit the model, or its format may run code."""


class DataError(RefusedError):
    """The data is unreadable, empty or disagrees with the label map."""


class CodeError(RefusedError):
    """The source code that builds the network is not what was registered."""


class NonFiniteError(RefusedError):
    """Weights or activations hold NaN or infinity."""


class AccuracyError(RefusedError):
    """The network's answers are no better than chance, or right under other labels.

    Args:
        message: What is wrong, in one sentence.
        hint: What the reader can do about it.
        fits: The labels in the order that fits the network's outputs; empty if none is known.
    """

    def __init__(self, message: str, hint: str = "", *, fits: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.fits = fits


class OutputsError(RefusedError):
    """The network returns probabilities where logits are meant."""


class ImpureNetworkError(RefusedError):
    """The network's answer for an image depends on chance, on the other images of its batch, or on earlier ones."""


class UnsupportedLayerError(RefusedError):
    """The model has a weight that no layer handler edits."""


class AuthenticationError(RefusedError):
    """Nobody can tell who asks: a token, session or login link is missing, unknown, expired or revoked."""


class ForbiddenError(RefusedError):
    """Whoever asks is known, and may not do this."""


class OverdueError(LedgerError):
    """At least one open request is past its due date."""

    exit_code = 8


class AccessError(LedgerError):
    """A file is there, and this account may not read it: that says nothing about what it holds."""


class OutputError(LedgerError):
    """The answer cannot be written to standard output; what the command did is done all the same."""

    exit_code = 74


class PluginError(LedgerError):
    """A plugin broke its contract."""


class NotInstalledError(LedgerError):
    """A part of the program that this needs is not installed; nothing was begun.

    Args:
        message: What is wrong, in one sentence.
        hint: What the reader can do about it.
        extra: Name of the extra to install, e.g. ``engine`` or ``server``.
    """

    def __init__(self, message: str, hint: str = "", *, extra: str) -> None:
        super().__init__(message, hint)
        self.extra = extra


class RetryLaterError(LedgerError):
    """The same call may succeed later, e.g. because somebody else holds what we need now."""

    exit_code = 75


class BusyError(RetryLaterError):
    """The database is locked by others, or chose to undo this transaction; nothing was written."""


class LeaseHeldError(RetryLaterError):
    """A request cannot be carried out now, because another worker holds the lease on it or on one before it."""


class LeaseLostError(RetryLaterError):
    """The lease on a request is no longer held; another worker may carry it out by now."""


class TransientError(RetryLaterError):
    """Work on a request met with something that says nothing about the request and that passes.

    That is a full disk, a failing disk, a lack of memory, or an object store or a database that cannot be reached. The
    request is back in the queue.
    """


class EngineLostError(RetryLaterError):
    """Whoever runs the units of a computation cannot be reached, lost a unit again and again, or is of another kind.

    The request is back in the queue. What was collected by then is stored, and is not collected again.
    """


class UnreachableError(RetryLaterError):
    """The database went away. If that was while a transaction committed, its outcome is unknown."""
