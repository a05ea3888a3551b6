"""Certificates, as documents and files."""

from ledger.documents import certificates as documents
from ledger.documents.document import Document
from ledger.service.evidence.certificate_files import bundle, openings_of
from ledger.service.evidence.certificates import (
    changed_since,
    erase_openings,
    get_certificate,
    issue,
    list_certificates,
    plan,
)
from ledger.service.evidence.verification import read_statement
from ledger.service.ledger import Ledger
from ledger.service.requests.listing import show_request


class LocalCertificates:
    """Answers questions about certificates, and issues them.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self) -> Document:
        """Return every certificate, in the order they were issued."""
        return documents.certificates_document(list_certificates(self._ledger))

    def show(self, certificate: int) -> Document:
        """Return a certificate's statement, and what happened since.

        Raises:
            NotFoundError: There is none with this number.
        """
        found = get_certificate(self._ledger, certificate)
        owner, _ = show_request(self._ledger, found.request_id)
        since = changed_since(self._ledger, found)
        return documents.certificate_record_document(found, owner, read_statement(found), since)

    def file(self, certificate: int) -> bytes:
        """Return the file of a certificate, which others verify.

        Raises:
            NotFoundError: There is none with this number.
            SignatureError: What is stored does not verify with the ledger's key.
        """
        return bundle(self._ledger, get_certificate(self._ledger, certificate))

    def openings(self, certificate: int) -> bytes:
        """Return the file that opens a certificate's commitments to class names.

        Raises:
            NotFoundError: There is none with this number.
            PurgedError: The openings were erased.
        """
        return openings_of(get_certificate(self._ledger, certificate))

    def plan(self, request: int, *, live: bool = False) -> Document:
        """Return what would be certified, and what confirms that; nothing is signed.

        Raises:
            NotFoundError: There is no such request, or the signing key is missing.
            ConflictError: The request is not fulfilled, no longer stands, or its version is damaged.
            PurgedError: The weights of its version were purged.
        """
        return documents.plan_document(plan(self._ledger, request, live=live))

    def issue(
        self, request: int, *, live: bool = False, renew: bool = False, confirmation: str | None = None
    ) -> Document:
        """Certify how a fulfilled request was carried out; with a confirmation, only what that plan said.

        Raises:
            ConflictError: The ledger changed since the plan was made; besides what :meth:`plan` raises.
        """
        issued = issue(self._ledger, request, live=live, renew=renew, shown=confirmation)
        return documents.issued_document(issued, bundle(self._ledger, issued.certificate), None)

    def erase_openings(self, certificate: int) -> Document:
        """Erase what opens a certificate's commitments to class names.

        Raises:
            NotFoundError: There is none with this number.
        """
        return documents.openings_erased_document(certificate, erased=erase_openings(self._ledger, certificate))
