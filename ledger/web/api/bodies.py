"""What requests to the API hold. None of them names a file, an address or a module: models are registered elsewhere."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ledger.domain.requests import LONGEST_BASIS, LONGEST_EXTERNAL_ID
from ledger.service.requests.filing import PART

from .values import Body, Flag, Moment, Number, Text, Whole, Word


class ForgetBody(Body):
    """One request to forget classes."""

    classes: Annotated[list[Word | Whole], Field(min_length=1, max_length=10_000, fail_fast=True)]
    """Labels, or indices as numbers."""
    reason: Text = ""
    basis: Annotated[Text, Field(max_length=LONGEST_BASIS)] = ""
    external_id: Annotated[Text, Field(max_length=LONGEST_EXTERNAL_ID)] = ""
    received_at: Moment | None = None
    due_at: Moment | None = None
    idempotency_key: Word | None = None
    """In place of the header, where several requests are filed together."""
    preview: dict[str, Any] | None = None
    """The document of the preview that it is bound to."""


class FilingBody(Body):
    """Requests to file: all or none of them."""

    requests: Annotated[list[ForgetBody], Field(min_length=1, max_length=PART, fail_fast=True)]
    needs_approval: Flag = False


class BulkBody(Body):
    """A file of requests: where one line is bad, none is filed."""

    text: Annotated[str, StringConstraints(strict=True, max_length=16 * 2**20, pattern=r"^[^\x00]*$")]
    """What the file holds: CSV, JSON Lines, or lines of classes."""
    format: Literal["csv", "jsonl", "lines"] | None = None
    """None tells it from the name and the first line."""
    name: Annotated[str, StringConstraints(strict=True, max_length=1000, pattern=r"^[^\x00]*$")] = ""
    """What to call the file in errors; nothing is opened by it."""
    needs_approval: Flag = False
    dry_run: Flag = False
    """File nothing, and return every bad line."""


class DecisionBody(Body):
    """A decision about a request."""

    action: Literal["approve", "deny", "cancel", "hold", "release", "retry", "withdraw"]
    reason: Text = ""
    solvers: Annotated[list[Word], Field(max_length=20, default_factory=list)]
    """With retry and withdraw: what computes it in the place of the model's solvers."""
    waive_gates: Flag = False
    """With retry and withdraw: accept the result even if it misses a quality gate; the reason tells why."""


class PreviewBody(Body):
    """Ask for a preview."""

    classes: Annotated[list[Word | Whole], Field(min_length=1, max_length=10_000, fail_fast=True)]
    """Labels, or indices as numbers."""


class ExtensionBody(Body):
    """More time for a request."""

    due_at: Moment
    reason: Text


class WebhookBody(Body):
    """Let an address be told of events."""

    url: Annotated[str, Field(strict=True, min_length=1, max_length=2000)]
    kinds: Annotated[list[Word], Field(max_length=100, fail_fast=True, default_factory=list)]
    """Kinds of events, e.g. request.fulfilled or request.*; all where there are none."""


class ReasonBody(Body):
    """Why something is done."""

    reason: Text = ""


class RollbackPlanBody(Body):
    """Ask what a rollback would do."""

    to: Whole
    """Number of the version."""


class RollbackBody(RollbackPlanBody):
    """Roll back as a plan said."""

    confirmation: Word
    """From the plan."""
    reason: Text = ""


class PurgePlanBody(Body):
    """Ask what a purge would destroy."""

    older_than_days: Annotated[float, Field(strict=True, ge=0, le=36_500)]
    """How long a superseded version is kept."""


class PurgeBody(PurgePlanBody):
    """Purge as a plan said."""

    confirmation: Word
    """From the plan."""
    clock_is_right: Flag = False
    """Somebody looked at the clock of the server's machine."""


class CertificatePlanBody(Body):
    """Ask what would be certified."""

    request: Number
    live: Flag = False
    """About what is live now, in place of the version that the request made."""


class CertificateBody(CertificatePlanBody):
    """Issue a certificate."""

    renew: Flag = False
    """Another one, though one says the same."""
    confirmation: Word | None = None
    """From the plan."""


class VerificationBody(Body):
    """Verify the audit log."""

    kept: Annotated[str, Field(strict=True, max_length=2**20)] | None = None
    """What was kept elsewhere: a head as SIZE:SHA256, or the contents of a checkpoint or witness file."""
    key: Annotated[str, Field(strict=True, max_length=1000)] | None = None
    """Verifier key; none takes the ledger's own."""


class TokenBody(Body):
    """Make a token."""

    name: Word
    scopes: Annotated[
        list[Literal["read", "file", "decide", "operate", "audit", "admin"]],
        Field(min_length=1, max_length=20, fail_fast=True),
    ]
    expires_at: Moment | None = None
    """Null for no end; 90 days from now where it is left out."""


class EndingBody(Body):
    """End sessions."""

    name: Word | None
    """Whose; null for everybody's."""


def class_texts(classes: list[str | int]) -> list[str]:
    """Return classes as the desk takes them: indices behind ``index:``."""
    return [f"index:{one}" if isinstance(one, int) else one for one in classes]
