"""Verify certificate files, for whoever holds them; no ledger is needed when the issuer's key is known."""

import codecs
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.audit.signed_notes import Verifier
from ledger.certificates.dsse import statement_of
from ledger.certificates.files import check_certificate, check_opening
from ledger.certificates.verifier import Verified
from ledger.config import find_config
from ledger.domain.certificates import Certificate
from ledger.errors import NotFoundError, UsageError
from ledger.named_files import open_named, read_bytes, reading
from ledger.service.signing import load_signer


@dataclass(frozen=True)
class VerifiedCertificate:
    """A certificate that verifies, and the classes that an opening names."""

    certificate: Verified
    classes: tuple[tuple[int, str], ...] | None
    """Index and label of each class; None if no opening was given."""


def issuer(key: str | None, folder: Path | None) -> Verifier:
    """Return the key to verify with: the one given, else that of the ledger in a folder.

    Args:
        key: A verifier key, as ``audit key`` prints it.
        folder: Where the ledger is; None looks in ``UNLEDGER_DIR``, in the current folder and above.

    Raises:
        UsageError: No key is given and no ledger is there; or the key cannot be read.
    """
    if key is not None:
        return Verifier.parse(key)
    try:
        return load_signer(find_config(folder)).verifier
    except NotFoundError as error:
        raise UsageError("no key to verify with, and no ledger here to take it from", "name it with --key") from error


def verify_certificate(
    file: Path,
    verifier: Verifier,
    *,
    request: int | None = None,
    weights: Path | None = None,
    opening: Path | None = None,
) -> VerifiedCertificate:
    """Verify a certificate file, and an opening of its commitments.

    Args:
        file: The certificate.
        verifier: The key it must be signed with.
        request: Number of the request it must be about.
        weights: The weights file it must be about.
        opening: The file that names its classes.

    Raises:
        SignatureError: The certificate does not verify, is about something else, or the opening does not fit.
        NotFoundError: A file does not exist.
        UsageError: A file cannot be read.
    """
    digest = None if weights is None else _weights_digest(weights)
    verified = check_certificate(_read(file), verifier, request=request, weights=digest)
    opened = None if opening is None else tuple(check_opening(_read(opening), verified))
    return VerifiedCertificate(verified, opened)


def read_statement(certificate: Certificate) -> dict[str, Any]:
    """Return the statement that a stored certificate signs, without verifying it."""
    return statement_of(json.loads(certificate.envelope))


def _read(file: Path) -> bytes:
    # Some editors put a mark of byte order before what they save.
    return read_bytes(file).removeprefix(codecs.BOM_UTF8)


def _weights_digest(weights: Path) -> str:
    with reading(weights, "weights file"), open_named(weights) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
