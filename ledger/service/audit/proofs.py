"""Prove that single entries stand in the audit log that a checkpoint signs."""

from ledger.audit.proofs import SCHEMA, Proof
from ledger.audit.signed_notes import Verifier
from ledger.errors import AuditError, ConflictError, SignatureError
from ledger.service.ledger import Ledger
from ledger.service.signing import own_verifier


def prove(ledger: Ledger, seq: int) -> Proof:
    """Return a proof that an entry stands in the audit log that the newest checkpoint signs.

    Raises:
        NotFoundError: There is no such entry.
        ConflictError: No checkpoint covers it yet.
        AuditError: What is stored leads to another root than was signed.
    """
    with ledger.database.read() as tx:
        entry, last = tx.audit.entry(seq), tx.checkpoints.last()
        if last is None or last.size < seq:
            raise ConflictError(f"no checkpoint covers entry {seq} yet", "sign one with: unledger audit checkpoint")
        path = tuple(tx.audit.inclusion(seq, last.size))
    proof = Proof(entry.leaf, seq - 1, last.size, path, last.note)
    verifier = own_verifier(ledger.config)
    if verifier is not None:
        try:
            proof.check([verifier])
        except SignatureError as error:
            raise AuditError(error.message, "see: unledger audit verify", seq=seq) from error
    return proof


def is_proof(text: str) -> bool:
    """Return whether a text looks like a proof of one entry, as opposed to an exported log."""
    return SCHEMA in text[:200]


def check_proof(text: str, key: str) -> Proof:
    """Return a proof once it leads to a checkpoint that a key signed; asks no ledger.

    Raises:
        UsageError: This is not a verifier key.
        SignatureError: The document is not a proof, or does not prove its entry.
    """
    proof = Proof.parse(text)
    proof.check([Verifier.parse(key)])
    return proof
