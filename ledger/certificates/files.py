"""Certificate files: a signed statement, and the proof that the log contains the entry which records it.

A statement cannot contain this proof itself, because the entry holds the digest of the signed envelope. So a
certificate file has four parts:

    format      unledger.certificate/1
    envelope    the signed statement (DSSE)
    leaf        the text of the log entry that records the envelope's digest
    proof       C2SP tlog-proof: the entry's index, its path to the root, and a signed checkpoint

A new proof can be made at any time, against any later checkpoint. The envelope never changes.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

from ledger.audit.signed_notes import Verifier
from ledger.errors import SignatureError

from .dsse import key_of
from .verifier import FORMAT, PROOF_HEADER, RejectedError, Verified, verify, verify_opening


def tlog_proof(index: int, path: Sequence[bytes], checkpoint: str) -> str:
    """Return a proof in the C2SP ``tlog-proof`` format.

    Args:
        index: Index of the entry, from 0.
        path: SHA-256 hashes from the entry's sibling up to the child of the root.
        checkpoint: The signed note.
    """
    hashes = (base64.b64encode(part).decode() for part in path)
    return "\n".join([PROOF_HEADER, f"index {index}", *hashes, "", checkpoint])


def certificate_file(envelope: dict[str, Any], leaf: str, proof: str) -> bytes:
    """Return the bytes of a certificate file."""
    parts = {"format": FORMAT, "envelope": envelope, "leaf": leaf, "proof": proof}
    return (json.dumps(parts, indent=2, ensure_ascii=False) + "\n").encode()


def check_certificate(
    data: bytes, verifier: Verifier, *, request: int | None = None, weights: str | None = None
) -> Verified:
    """Verify a certificate file.

    Args:
        data: The file's bytes.
        verifier: The key it must be signed with.
        request: Number of the request it must be about.
        weights: SHA-256 of the weights it must be about.

    Raises:
        SignatureError: Any part of it does not verify.
    """
    try:
        verified = verify(data, key_of(verifier))
        verified.expect(request=request, weights=weights)
    except RejectedError as error:
        raise SignatureError(
            f"the certificate does not verify: {error}", "ask its issuer for it again, and for the key by another way"
        ) from error
    return verified


def check_opening(data: bytes, verified: Verified) -> list[tuple[int, str]]:
    """Verify an opening against a verified certificate; return index and label of each class.

    Raises:
        SignatureError: It does not open commitments of this certificate.
    """
    try:
        return verify_opening(data, verified)
    except RejectedError as error:
        raise SignatureError(f"the opening does not verify: {error}", "ask whoever keeps it for this one's") from error
