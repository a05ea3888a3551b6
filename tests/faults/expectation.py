"""What a ledger with one model must be like after anything anybody did to it, in plain Python.

Written from the documentation, not from the code: no SQL, no imports from the package, sets and lists only.
"""

from dataclasses import dataclass, field

Weights = tuple[object, ...]
"""What decides the bytes of weights: the set forgotten, and what it was computed from."""

DECISIONS = {
    "approve": {"awaiting_approval": "queued"},
    "deny": dict.fromkeys(
        ("awaiting_approval", "queued", "on_hold", "failed", "blocked", "quarantined", "reopened"), "denied"
    ),
    "cancel": dict.fromkeys(
        ("awaiting_approval", "queued", "on_hold", "failed", "blocked", "quarantined"), "cancelled"
    ),
    "hold": {"queued": "on_hold"},
    "release": {"on_hold": "queued"},
    "retry": dict.fromkeys(("failed", "blocked", "quarantined", "reopened"), "queued"),
}
OPEN = {"awaiting_approval", "queued", "running", "on_hold", "failed", "blocked", "quarantined", "reopened"}
MOST_CRASHES = 3


class Refused(Exception):  # noqa: N818 - nothing went wrong
    """What was asked must be refused; ``args[0]`` names the ways to refuse it."""


@dataclass
class Wish:
    """A request."""

    number: int
    classes: frozenset[int]
    state: str
    key: str | None = None
    version: int | None = None
    no_op: bool = False
    attempts: int = 0
    waived: bool = False


@dataclass
class Made:
    """A version."""

    number: int
    kind: str
    request: int | None
    restores: int | None
    forgotten: frozenset[int]
    weights: Weights
    at: int
    purged: bool = False


@dataclass
class Expectation:
    """One model with its requests and versions, as they must be.

    Args:
        classes: How many the model knows.
        least: How many it must retain.
        failing: The set that cannot be computed.
        missing: A set is computed with a missed gate if it contains these.
    """

    classes: int
    least: int
    failing: frozenset[int]
    missing: frozenset[int]
    now: int = 0
    wishes: dict[int, Wish] = field(default_factory=dict)
    versions: list[Made] = field(default_factory=list)
    anchor: int = 0

    def __post_init__(self) -> None:
        self.versions.append(Made(0, "base", None, None, frozenset(), ("registered",), self.now))

    @property
    def live(self) -> Made:
        """The version in use: always the newest, since history only grows."""
        return self.versions[-1]

    def wanted(self, besides: int = 0) -> frozenset[int]:
        """Return the classes of all fulfilled requests, one left out."""
        return frozenset[int]().union(
            *(w.classes for w in self.wishes.values() if w.state == "fulfilled" and w.number != besides)
        )

    def enough(self, forgotten: frozenset[int]) -> bool:
        """Whether enough classes are left."""
        return self.classes - len(forgotten) >= self.least

    def computed(self, forgotten: frozenset[int]) -> Weights:
        """Return the weights that forget a set, computed from the anchor."""
        base = self.versions[self.anchor]
        return base.weights if forgotten == base.forgotten else (base.weights, forgotten)

    # -- what people do ------------------------------------------------------------------------------

    def file(self, classes: frozenset[int], key: str | None, *, approval: bool) -> Wish:
        """File a request."""
        known = next((w for w in self.wishes.values() if key is not None and w.key == key), None)
        if known is not None:
            if known.classes != classes:
                raise Refused({"IdempotencyConflictError"})
            return known
        waiting = frozenset[int]().union(*(w.classes for w in self.wishes.values() if w.state in OPEN))
        if not self.enough(self.live.forgotten | waiting | classes):
            raise Refused({"TooFewRetainedError"})
        wish = Wish(len(self.wishes) + 1, classes, "awaiting_approval" if approval else "queued", key)
        if classes <= self.live.forgotten:
            wish.state, wish.version, wish.no_op = "fulfilled", self.live.number, True
        self.wishes[wish.number] = wish
        return wish

    def decide(self, number: int, decision: str, *, waive: bool) -> None:
        """Decide about a request."""
        wish = self.wishes[number]
        few = decision == "retry" and not self.enough(self.live.forgotten | wish.classes)
        if wish.state not in DECISIONS[decision] or few:
            raise Refused({"TransitionError", "TooFewRetainedError"} if few else {"TransitionError"})
        wish.state = DECISIONS[decision][wish.state]
        if decision == "retry":
            wish.attempts, wish.waived, wish.version, wish.no_op = 0, waive, None, False

    def roll_back(self, number: int) -> set[int]:
        """Roll back; return the numbers of the requests that it reopens."""
        target, live = self.versions[number], self.live
        if target.purged:
            raise Refused({"PurgedError"})
        if (target.weights, target.forgotten) == (live.weights, live.forgotten):
            raise Refused({"ConflictError"})
        self._append("rollback", None, number, target.forgotten, target.weights)
        undone = {
            w.number for w in self.wishes.values() if w.state == "fulfilled" and not w.classes <= target.forgotten
        }
        for wish in (self.wishes[n] for n in undone):
            wish.state, wish.version, wish.no_op = "reopened", None, False
        return undone

    def withdraw(self, number: int, *, waive: bool) -> None:
        """Withdraw a request: what nobody else asks to be forgotten is known again."""
        wish = self.wishes[number]
        if wish.state not in ("fulfilled", "reopened"):
            raise Refused({"TransitionError"})
        going = wish.classes if wish.state == "fulfilled" else frozenset[int]()
        back = (going & self.live.forgotten) - self.wanted(besides=number)
        if waive and not back:
            raise Refused({"UsageError"})
        if back & self.versions[self.anchor].forgotten:
            raise Refused({"PurgedError"})
        if back:
            left = self.live.forgotten - back
            if left == self.failing:
                raise Refused({"DataError"})
            if left >= self.missing and not waive:
                raise Refused({"GateError"})
            self._append("withdraw", number, None, left, self.computed(left))
        wish.state = "withdrawn"

    def purge(self, age: int) -> None:
        """Destroy the versions that were superseded longer ago than ``age``."""
        before = [v.number for v in self.versions if v.at <= self.now - age]
        anchor = self.versions[max([self.anchor, *before])]
        kept = self.versions[anchor.number :]
        if any(not anchor.forgotten <= v.forgotten for v in kept):
            raise Refused({"ConflictError"})
        going = [v for v in self.versions[: anchor.number] if not v.purged]
        if going and any(w.state == "running" for w in self.wishes.values()):
            raise Refused({"ConflictError"})
        for version in going:
            version.purged = True
        if going:
            self.anchor = anchor.number

    # -- what workers do -----------------------------------------------------------------------------

    def work(self, *, dies: str | None = None) -> None:
        """Work the queue off, or as far as the worker gets.

        Args:
            dies: ``vanishes`` during the first computation, is ``interrupted`` then, or is ``late``: it finds its lease
                expired when it wants to commit. Where nothing need be computed, it gets through.
        """
        for vanished in self.wishes.values():
            if vanished.state == "running" and vanished.attempts >= MOST_CRASHES:
                vanished.state = "quarantined"
        while (wish := self._next()) is not None:
            wish.state = "running"
            wish.attempts += 1
            forgotten = self.live.forgotten | wish.classes
            if not self.enough(forgotten):
                wish.state = "failed"
                continue
            if forgotten == self.live.forgotten:
                wish.state, wish.version, wish.no_op, wish.attempts = "fulfilled", self.live.number, True, 0
                continue
            if dies is not None:
                if dies == "interrupted":
                    wish.state, wish.attempts = "queued", wish.attempts - 1
                return
            if forgotten == self.failing:
                wish.state = "failed"
            elif forgotten >= self.missing and not wish.waived:
                wish.state = "blocked"
            else:
                self._append("forget", wish.number, None, forgotten, self.computed(forgotten))
                wish.state, wish.version, wish.no_op, wish.attempts = "fulfilled", self.live.number, False, 0

    def _next(self) -> Wish | None:
        for state in ("running", "queued"):
            for wish in self.wishes.values():
                if wish.state == state:
                    return wish
        return None

    def _append(
        self, kind: str, request: int | None, restores: int | None, forgotten: frozenset[int], weights: Weights
    ) -> None:
        self.versions.append(Made(len(self.versions), kind, request, restores, forgotten, weights, self.now))
