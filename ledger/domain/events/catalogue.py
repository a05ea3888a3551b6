"""All kinds of events, each with its class."""

from collections.abc import Mapping
from types import MappingProxyType

from . import access, ledgers, models, requests, versions
from .event import Event

EVENTS: Mapping[str, type[Event]] = MappingProxyType(
    {
        event.kind: event
        for event in (
            ledgers.LedgerCreated,
            ledgers.LedgerRecovered,
            models.ModelRegistered,
            models.ModelDataChanged,
            models.ModelPurged,
            models.ModelRolledBack,
            models.ModelAdopted,
            models.ClassSpaceCollected,
            models.ResultKept,
            ledgers.ObjectDestroyed,
            versions.VersionCreated,
            versions.VersionEvaluated,
            versions.VersionExported,
            versions.VersionQuarantined,
            versions.VersionReleased,
            requests.RequestReceived,
            requests.RequestApproved,
            requests.RequestDenied,
            requests.RequestCancelled,
            requests.RequestHeld,
            requests.RequestReleased,
            requests.RequestRetried,
            requests.RequestClaimed,
            requests.RequestInterrupted,
            requests.RequestQuarantined,
            requests.RequestFulfilled,
            requests.RequestFailed,
            requests.RequestBlocked,
            requests.RequestReopened,
            requests.RequestWithdrawn,
            requests.RequestExtended,
            ledgers.CertificateIssued,
            ledgers.CertificateOpeningsErased,
            access.TokenCreated,
            access.TokenRevoked,
            access.SessionOpened,
            access.SessionEnded,
            access.SessionsEnded,
            access.WebhookAdded,
            access.WebhookRemoved,
        )
    }
)
"""By :class:`~ledger.domain.events.event.EventKind`."""
