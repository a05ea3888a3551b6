"""The desk of a ledger on this machine: each subject is opened when it is first asked about."""

from functools import cached_property
from typing import TYPE_CHECKING

from ledger.service.ledger import Ledger
from ledger.service.progress import Progress, Silent

if TYPE_CHECKING:
    from .access import LocalAccess, LocalWebhooks
    from .audit import LocalAudit
    from .certificates import LocalCertificates
    from .models import LocalModels
    from .previews import LocalPreviews
    from .reports import LocalReports
    from .requests import LocalRequests
    from .upkeep import LocalUpkeep
    from .versions import LocalVersions


class LocalDesk:
    """Answers from an opened ledger, for whoever is its actor.

    Args:
        ledger: The ledger; its actor is recorded with every change.
        progress: Follows long work.
        computes: Whether new weights may be computed here, which takes images, time and torch. A server does not.
    """

    def __init__(self, ledger: Ledger, progress: Progress | None = None, *, computes: bool = True) -> None:
        self.ledger = ledger
        self.progress: Progress = progress or Silent()
        self.computes = computes

    # A subject is imported when it is asked about: a command needs one, and some take long to import.

    @cached_property
    def models(self) -> "LocalModels":
        """Questions about registered models."""
        from .models import LocalModels

        return LocalModels(self.ledger)

    @cached_property
    def versions(self) -> "LocalVersions":
        """Questions about versions."""
        from .versions import LocalVersions

        return LocalVersions(self.ledger, self.progress)

    @cached_property
    def requests(self) -> "LocalRequests":
        """Questions and decisions about requests."""
        from .requests import LocalRequests

        return LocalRequests(self.ledger, self.progress, computes=self.computes)

    @cached_property
    def audit(self) -> "LocalAudit":
        """Questions about the audit log."""
        from .audit import LocalAudit

        return LocalAudit(self.ledger)

    @cached_property
    def certificates(self) -> "LocalCertificates":
        """Questions about certificates."""
        from .certificates import LocalCertificates

        return LocalCertificates(self.ledger)

    @cached_property
    def reports(self) -> "LocalReports":
        """Reports to read."""
        from .reports import LocalReports

        return LocalReports(self.ledger)

    @cached_property
    def upkeep(self) -> "LocalUpkeep":
        """Questions about the ledger itself."""
        from .upkeep import LocalUpkeep

        return LocalUpkeep(self.ledger)

    @cached_property
    def access(self) -> "LocalAccess":
        """Questions about tokens."""
        from .access import LocalAccess

        return LocalAccess(self.ledger)

    @cached_property
    def webhooks(self) -> "LocalWebhooks":
        """Questions about who is told of events."""
        from .access import LocalWebhooks

        return LocalWebhooks(self.ledger)

    @cached_property
    def previews(self) -> "LocalPreviews":
        """Previews that a worker computes."""
        from .previews import LocalPreviews

        return LocalPreviews(self.ledger)
