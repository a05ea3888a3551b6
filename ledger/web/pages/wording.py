"""Words that pages have for states, kinds and what has just been done."""

import json
from typing import Any, NamedTuple

from ledger.domain.access import Scope
from ledger.domain.states import Action


class Told(NamedTuple):
    """What a page tells after something was done."""

    text: str
    kind: str = ""


TOLD = {
    "filed": Told("The request was filed, bound to the preview that you saw."),
    "repeated": Told("This was filed before: here is that request."),
    "decided": Told("The decision was recorded."),
    "rolled_back": Told("The model was rolled back."),
    "issued": Told("The certificate was issued."),
    "certified": Told("This certificate says just that already: nothing was issued."),
    "revoked": Told("The token was revoked. Sessions that were opened with it have ended."),
    "sessions_ended": Told("All sessions of that person have ended. Their tokens are as they were."),
    "removed": Told("The address was removed."),
    "test_arrived": Told("The test message arrived."),
    "test_failed": Told("The test message did not arrive. The table says what happened.", "bad"),
    "signed": Told("A new head was signed."),
}
"""By what an address says: nothing that somebody else wrote into a link is ever shown."""

SCOPE_WORDS = {
    Scope.READ: "read: see models, requests, evidence and certificates",
    Scope.FILE: "file: file requests, one or many",
    Scope.DECIDE: "decide: approve, deny, hold and extend requests",
    Scope.OPERATE: "operate: roll back, purge and certify",
    Scope.AUDIT: "audit: read and verify the audit log",
    Scope.ADMIN: "admin: make and revoke tokens, end sessions, and say who is told of events",
}

STATE_KINDS = {
    "awaiting_approval": "mind",
    "on_hold": "mind",
    "reopened": "mind",
    "blocked": "bad",
    "failed": "bad",
    "quarantined": "bad",
    "fulfilled": "done",
    "denied": "done",
    "cancelled": "done",
    "withdrawn": "done",
}
"""How the state of a request is set off; open ones that go their way are not."""

KIND_WORDS = {
    "base": "as registered",
    "forget": "made by forgetting",
    "rollback": "a rollback",
    "withdraw": "made by a withdrawal",
}

ACTIONS = {
    Action.APPROVE: "let a worker carry it out",
    Action.DENY: "refuse it for good",
    Action.CANCEL: "it is not wanted any more",
    Action.HOLD: "let it wait; its due date stays",
    Action.RELEASE: "put it back in the queue",
    Action.RETRY: "have a worker try again",
    Action.WITHDRAW: "its classes may be known again",
    Action.EXTEND: "give it a later due date",
}
"""What a person can decide, and what it does."""
BULK = (Action.APPROVE, Action.DENY, Action.CANCEL, Action.HOLD, Action.RELEASE, Action.RETRY, Action.EXTEND)
"""What can be decided about many requests at a time."""

SCOPES = {
    "read": "models, requests, evidence and reports, with class names",
    "file": "file requests",
    "decide": "approve, deny, hold, retry and the like",
    "operate": "roll back and purge",
    "audit": "history, proofs and certificates",
    "admin": "tokens, sessions and webhooks",
}


def event_words(kind: str) -> str:
    """Return an event's kind as a person reads it: ``request.held`` is ``request held``."""
    return kind.replace(".", " ").replace("_", " ")


def leaf_text(leaf: Any) -> str:
    """Return the text of an entry, set out in lines."""
    try:
        return json.dumps(json.loads(leaf), indent=1, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(leaf)
