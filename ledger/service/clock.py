"""Whether the clock can be believed: compared with the database's clock, and with times that were recorded.

Nothing here proves that a clock is right. A clock that was set back is noticed as long as something was recorded after
the time that it shows now; one that was set forward only where the database has a clock of its own.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ledger.service.ledger import utc_now
from ledger.store.unit_of_work import Transaction

TOLERANCE = timedelta(minutes=2)
"""Several machines write to one ledger, and their clocks differ a little."""
LOOKED_AT = 200
"""Newest entries of the audit log whose times are looked at: after a clock was set back, the last one says little."""


@dataclass(frozen=True)
class Clocks:
    """What different clocks say, and what was recorded last."""

    now: datetime
    """On this process's clock."""
    database: datetime
    """On the database's clock."""
    newest: datetime | None
    """The latest time that one of the newest entries of the audit log bears; None in an empty log."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the clocks, a sentence each."""
        found = []
        if abs(self.now - self.database) > TOLERANCE:
            found.append(
                f"this machine's clock says {_text(self.now)} and the database's {_text(self.database)}: one is wrong"
            )
        if self.newest is not None and self.newest - min(self.now, self.database) > TOLERANCE:
            found.append(
                f"the audit log has an entry of {_text(self.newest)}, which is later than now "
                f"({_text(min(self.now, self.database))}): the clock was set back, or was ahead when that was written"
            )
        return tuple(found)


def read_clocks(tx: Transaction, now: Callable[[], datetime] = utc_now, *, recorded: Iterable[datetime] = ()) -> Clocks:
    """Read the clocks, and the newest times that were recorded.

    Args:
        tx: An open transaction.
        now: This process's clock.
        recorded: More times that were recorded.
    """
    size = tx.audit.head().size
    times = [datetime.fromisoformat(json.loads(e.leaf)["at"]) for e in tx.audit.entries(max(0, size - LOOKED_AT))]
    times += recorded
    return Clocks(now(), datetime.fromtimestamp(tx.time(), UTC), max(times, default=None))


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
