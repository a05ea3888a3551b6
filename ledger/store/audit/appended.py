"""What one process appended to an audit log, in a few numbers."""

from dataclasses import dataclass, field

MOST_NUMBERS = 20
"""Requests that are named one by one."""


@dataclass
class Appended:
    """Entries that were appended, and the requests they are about."""

    first: int = 0
    """Number of the first entry; 0 for none."""
    last: int = 0
    requests: dict[int, None] = field(default_factory=dict)
    """Numbers of requests, at most one more than are named."""

    def note(self, seq: int, request: int | None) -> None:
        """Note one entry."""
        self.first, self.last = self.first or seq, seq
        if request is not None and len(self.requests) <= MOST_NUMBERS:
            self.requests[request] = None

    def add(self, later: "Appended") -> None:
        """Note what was appended later."""
        if later.last:
            self.first, self.last = self.first or later.first, later.last
            kept = list(self.requests | later.requests)[: MOST_NUMBERS + 1]
            self.requests = dict.fromkeys(kept)

    def __str__(self) -> str:
        """Return a phrase such as ``entries 4 to 6 of the audit log (request 2)``."""
        what = f"entry {self.first}" if self.first == self.last else f"entries {self.first} to {self.last}"
        numbers = ", ".join(map(str, list(self.requests)[:MOST_NUMBERS]))
        if not numbers:
            return f"{what} of the audit log"
        more = " and more" if len(self.requests) > MOST_NUMBERS else ""
        plural = "s" if len(self.requests) > 1 else ""
        return f"{what} of the audit log (request{plural} {numbers}{more})"
