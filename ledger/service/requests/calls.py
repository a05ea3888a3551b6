"""One idempotency key for a whole call: all the requests that are filed together, in their order.

Each request of the call has a key of its own, made of the call's: ``KEY#1``, ``KEY#2`` and so on, with a ``?`` behind
where a person must approve. A call is filed whole or not at all, so its repetition finds just these keys. A call that
is longer, shorter, or differs in whether it needs approval finds too few of them, one too many, or those of the other
kind. That the requests themselves are the same is held against the digest of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger.domain.requests import NewRequest
from ledger.errors import IdempotencyConflictError, IdempotencyKeyError
from ledger.store.unit_of_work import Transaction

LONGEST = 190
"""Characters of a call's key: with what is added to it, the column holds 200."""


@dataclass(frozen=True)
class Call:
    """Requests that are filed together."""

    key: str | None
    """Its idempotency key; None for a call that has none, of which nothing is asked."""
    size: int
    """How many requests it files."""
    approval: bool
    """Whether it says that a person must approve."""

    def keyed(self, requests: Sequence[NewRequest], most: int) -> Sequence[NewRequest]:
        """Return its requests, each with the key that it has as a part of the call.

        Args:
            requests: The requests.
            most: How many are filed all or none.

        Raises:
            IdempotencyKeyError: The key is too long, a request has a key already, or there are too many.
        """
        if self.key is None:
            return requests
        if len(requests) > most:
            raise IdempotencyKeyError(f"one idempotency key stands for at most {most:,} requests", "give each its own")
        if not self.key or len(self.key) > LONGEST:
            way = "use a shorter one" if self.key else "send one, or do without"
            raise IdempotencyKeyError(f"an idempotency key has 1 to {LONGEST} characters", way)
        if any(request.idempotency_key is not None for request in requests):
            raise IdempotencyKeyError(
                "one key for all of these requests, and a key for one of them, contradict each other",
                "use the key of the whole call (Idempotency-Key), or a key in each request",
            )
        return [replace(new, idempotency_key=self.key_of(place)) for place, new in enumerate(requests, 1)]

    def require_same(self, tx: Transaction) -> None:
        """Refuse a call under a key that stands for another one.

        Raises:
            IdempotencyConflictError: The call that was filed under the key has more requests, or fewer, or differs in
                whether a person must approve.
        """
        if self.key is None:
            return
        own = [self.key_of(place) for place in range(1, self.size + 1)]
        others = [self.key_of(self.size + 1), self.key_of(1, approval=not self.approval)]
        known = tx.requests.by_keys([*own, *others])
        found = sum(key in known for key in own)
        if found not in {0, self.size} or any(key in known for key in others):
            raise IdempotencyConflictError(
                f"the key {self.key!r} was used for other requests, or with another need for approval",
                "send the same body again, or use a new key",
            )

    def key_of(self, place: int, *, approval: bool | None = None) -> str:
        """Return the key of one of its requests, the first at place 1.

        Args:
            place: Which of them.
            approval: As if the call said this of its need for approval; None for what it says.
        """
        held = self.approval if approval is None else approval
        return f"{self.key}#{place}{'?' if held else ''}"
