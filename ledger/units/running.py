"""Run one unit: what engines call, on whatever machine."""

import threading
from dataclasses import dataclass
from typing import Protocol

from ledger import errors
from ledger.digest import sha256_hex
from ledger.errors import LedgerError

from .model_card import ModelCard
from .place import Shares, Shelf, UnitPlace
from .surroundings import Surroundings

_SHELF = Shelf()
_ONE_AT_A_TIME = threading.Lock()
"""Some engines run calls in threads; a network and the number of threads belong to the process."""


class Unit(Protocol):
    """A part of a computation: a pure function of what it holds, so that it may run anywhere and again."""

    @property
    def card(self) -> ModelCard:
        """The model."""
        ...

    @property
    def surroundings(self) -> Surroundings:
        """Where it has to run."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides its result."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Digests of the shared bytes that it needs."""
        ...

    def run(self, place: UnitPlace) -> bytes:
        """Compute the result."""
        ...


@dataclass(frozen=True)
class Fault:
    """What a unit raised, in words that every process can read."""

    kind: str
    """Name of the class of the error."""
    message: str
    hint: str = ""
    number: int | None = None
    """What the operating system calls it."""

    @classmethod
    def of(cls, error: BaseException) -> "Fault":
        """Describe an error."""
        if isinstance(error, LedgerError):
            return cls(type(error).__name__, error.message, error.hint)
        if isinstance(error, OSError):
            return cls("OSError", error.strerror or str(error), number=error.errno)
        return cls(type(error).__name__, str(error))

    def error(self) -> Exception:
        """Return an error of the same meaning."""
        own = getattr(errors, self.kind, None)
        if isinstance(own, type) and issubclass(own, LedgerError):
            try:
                return own(self.message, self.hint)
            except TypeError:
                # Some hold more than a sentence, which nobody reads here.
                return LedgerError(self.message, self.hint)
        if self.kind == "OSError":
            return OSError(self.number, self.message)
        if self.kind == "MemoryError":
            return MemoryError(self.message)
        return RuntimeError(f"{self.kind}: {self.message}")


@dataclass(frozen=True)
class UnitResult:
    """What came of a unit."""

    unit: str
    """Its digest."""
    data: bytes
    digest: str
    """SHA-256 of the data."""
    fault: Fault | None = None


def run_unit(unit: Unit, shares: Shares) -> UnitResult:
    """Run a unit; what it raises is part of the result, so that an engine's own faults can be told from it.

    Args:
        unit: The unit.
        shares: What gives the shared bytes that it needs.
    """
    with _ONE_AT_A_TIME:
        try:
            device = unit.surroundings.enter()
            data = unit.run(UnitPlace(_SHELF, unit.card, device, shares))
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is wanted
            return UnitResult(unit.digest, b"", sha256_hex(b""), Fault.of(error))
    return UnitResult(unit.digest, data, sha256_hex(data))
