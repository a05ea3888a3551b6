"""The audit log of a server's ledger, its certificates, and the ledger itself."""

from ledger.desk.asked import ModelKey
from ledger.documents.document import Document
from ledger.errors import NotFoundError

from .client import ServerClient
from .names import ModelNames, numbered


class RemoteAudit:
    """Asks about the audit log.

    Args:
        client: The server.
        names: Finds models by name.
    """

    def __init__(self, client: ServerClient, names: ModelNames) -> None:
        self._client = client
        self._names = names

    def log(self, model: ModelKey | None = None, *, after: int = 0, limit: int | None = None) -> Document:
        """Return entries, oldest first: those numbered above ``after``, at most ``limit``."""
        return self._client.listing("/audit", limit, model=self._names.optional(model), after=max(after, 0))

    def verify(self, kept: str | None = None, key: str | None = None) -> Document:
        """Have the server verify the log and every row that it tells of; an exported log is verified without it."""
        return self._client.post("/audit/verifications", {"kept": kept, "key": key})

    def key(self) -> Document:
        """Return the verifier key."""
        return self._client.get("/audit/key")

    def checkpoint(self) -> Document:
        """Sign how far the log reaches and what it holds."""
        return self._client.post("/audit/checkpoints", {})

    def newest_checkpoint(self) -> Document | None:
        """Return the newest signed head, and sign nothing; None where nothing was signed yet."""
        try:
            return self._client.get("/audit/checkpoint")
        except NotFoundError:
            return None

    def proof(self, seq: int) -> Document:
        """Return a proof that an entry stands in the signed log."""
        return self._client.get("/audit/proof", leaf=numbered("entry", seq, "audit log"))

    def export(self) -> list[str]:
        """Return the lines of an export: every entry, and the newest checkpoint."""
        return self._client.file("/audit/export").decode().splitlines(keepends=True)


class RemoteCertificates:
    """Asks about certificates, and for new ones.

    Args:
        client: The server.
    """

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    def all(self) -> Document:
        """Return every certificate, in the order they were issued."""
        return self._client.listing("/certificates")

    def show(self, certificate: int) -> Document:
        """Return a certificate's statement, and what happened since."""
        return self._client.get(_path(certificate))

    def file(self, certificate: int) -> bytes:
        """Return the file of a certificate, which others verify."""
        return self._client.file(f"{_path(certificate)}/file")

    def openings(self, certificate: int) -> bytes:
        """Return the file that opens a certificate's commitments to class names."""
        return self._client.file(f"{_path(certificate)}/openings")

    def plan(self, request: int, *, live: bool = False) -> Document:
        """Return what would be certified, and what confirms that; nothing is signed."""
        body = {"request": numbered("request", request, "request list"), "live": live}
        return self._client.post("/certificate-plans", body)

    def issue(
        self, request: int, *, live: bool = False, renew: bool = False, confirmation: str | None = None
    ) -> Document:
        """Certify how a fulfilled request was carried out; with a confirmation, only what that plan said."""
        body = {"request": request, "live": live, "renew": renew, "confirmation": confirmation}
        return self._client.post("/certificates", body)

    def erase_openings(self, certificate: int) -> Document:
        """Erase what opens a certificate's commitments to class names."""
        return self._client.delete(f"{_path(certificate)}/openings")


class RemoteUpkeep:
    """Asks about the ledger itself.

    Args:
        client: The server.
        names: Finds models by name.
    """

    def __init__(self, client: ServerClient, names: ModelNames) -> None:
        self._client = client
        self._names = names

    def facts(self) -> Document:
        """Return what the ledger is, and whether it may be written to."""
        return self._client.get("/ledger")

    def status(self, model: ModelKey | None = None, *, most: int | None = None, overdue: bool = False) -> Document:
        """Return what is live, open and late, and which workers are there."""
        return self._client.get("/status", model=self._names.optional(model), most=most, overdue=overdue)


def _path(certificate: int) -> str:
    return f"/certificates/{numbered('certificate', certificate, 'certificate list')}"
