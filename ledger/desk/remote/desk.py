"""The desk of a ledger on another machine: the same questions, asked of its server."""

from typing import Self

from .access import RemoteAccess, RemotePreviews, RemoteWebhooks
from .audit import RemoteAudit, RemoteCertificates, RemoteUpkeep
from .client import ServerClient
from .models import RemoteModels, RemoteReports, RemoteVersions
from .names import ModelNames
from .requests import RemoteRequests


class RemoteDesk:
    """Asks a server.

    Args:
        client: The server; closed with the desk.
    """

    def __init__(self, client: ServerClient) -> None:
        names = ModelNames(client)
        self._client = client
        self.models = RemoteModels(client, names)
        self.versions = RemoteVersions(client, names)
        self.requests = RemoteRequests(client, names)
        self.audit = RemoteAudit(client, names)
        self.certificates = RemoteCertificates(client)
        self.reports = RemoteReports(client, names)
        self.upkeep = RemoteUpkeep(client, names)
        self.access = RemoteAccess(client)
        self.webhooks = RemoteWebhooks(client)
        self.previews = RemotePreviews(client, names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
