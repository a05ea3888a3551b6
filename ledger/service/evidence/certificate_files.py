"""Write certificates out, each with the proof that the audit log holds the entry which records it."""

import json

from ledger.certificates.commitment import Opening, openings_file
from ledger.certificates.files import certificate_file, check_certificate, tlog_proof
from ledger.certificates.verifier import envelope_digest
from ledger.domain.certificates import Certificate
from ledger.errors import PurgedError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.ledger import Ledger
from ledger.service.signing import own_verifier


def bundle(ledger: Ledger, certificate: Certificate) -> bytes:
    """Return a certificate's file, verified before anybody gets it.

    The proof leads to the first checkpoint that was signed after the certificate, so that the file is the same every
    time. Where there is none yet, one is signed now.

    Raises:
        SignatureError: What is stored does not verify with the ledger's key: it was altered.
        AuditError: The audit log does not continue the last checkpoint.
    """
    seq = certificate.audit_seq
    with ledger.database.read() as tx:
        checkpoint = tx.checkpoints.covering(seq)
    if checkpoint is None:
        checkpoint = issue_checkpoint(ledger)
    with ledger.database.read() as tx:
        leaf, path = tx.audit.entry(seq).leaf, tx.audit.inclusion(seq, checkpoint.size)
    data = certificate_file(json.loads(certificate.envelope), leaf, tlog_proof(seq - 1, path, checkpoint.note))
    verifier = own_verifier(ledger.config)
    if verifier is not None:
        check_certificate(data, verifier)
    return data


def openings_of(certificate: Certificate) -> bytes:
    """Return the file that opens a certificate's commitments to classes.

    Raises:
        PurgedError: The openings were erased.
    """
    if certificate.openings is None:
        raise PurgedError(
            f"the openings of certificate {certificate.id} were erased",
            f"unledger certificate issue {certificate.request_id} --renew makes a certificate that can be opened",
        )
    openings = (Opening(**opening) for opening in certificate.openings)
    document = openings_file(openings, envelope_digest(json.loads(certificate.envelope)))
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
