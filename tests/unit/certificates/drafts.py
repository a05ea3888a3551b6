"""A log that issues certificates, with a handle at every step so that tests can bend each."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.audit.merkle import inclusion_proof, leaf_hash, tree_root
from ledger.audit.signed_notes import Checkpoint, Signer, sign_checkpoint
from ledger.certificates.commitment import Opening, commit_to, openings_file
from ledger.certificates.dsse import key_of
from ledger.certificates.files import certificate_file, tlog_proof
from ledger.certificates.verifier import CLAIM, PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, Key, envelope_digest, pae
from ledger.digest import canonical_json
from tests.unit.merkle_trees import subtree_over

AT = "2026-01-05T09:00:00+00:00"


def new_signer(seed: int, name: str = "unledger/c0ffee00") -> Signer:
    """Return a signing key that depends on a number alone."""
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


@dataclass(frozen=True)
class Draft:
    """A certificate before it is put together: what a forger who holds the key could write."""

    signer: Signer
    statement: dict[str, Any]
    openings: tuple[Opening, ...]
    event: dict[str, Any]
    """The log entry, without the envelope's digest."""
    before: tuple[str, ...] = ("one", "two", "three")
    after: tuple[str, ...] = ("five", "six")
    payload_type: str = PAYLOAD_TYPE
    log_signer: Signer | None = None
    """Who signs the checkpoint, if not the same."""

    def evolve(self, **changes: Any) -> Draft:
        """Return a draft with other fields."""
        return replace(self, **changes)

    def predicate(self, **changes: Any) -> Draft:
        """Return a draft with other values in the predicate."""
        return self.stating(predicate={**self.statement["predicate"], **changes})

    def stating(self, **changes: Any) -> Draft:
        """Return a draft with another statement."""
        return replace(self, statement={**self.statement, **changes})

    def recording(self, **changes: Any) -> Draft:
        """Return a draft with another log entry."""
        return replace(self, event={**self.event, **changes})

    @property
    def envelope(self) -> dict[str, Any]:
        """The signed envelope."""
        payload = canonical_json(self.statement)
        signature = self.signer.sign(pae(self.payload_type, payload))
        return {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": self.key.id, "sig": base64.b64encode(signature).decode()}],
        }

    @property
    def leaf(self) -> str:
        """The log entry's text."""
        data = {"envelope": envelope_digest(self.envelope), **self.event["data"]}
        return canonical_json({"seq": len(self.before) + 1, **self.event, "data": data}).decode()

    @property
    def proof(self) -> str:
        """The proof that the log holds the entry."""
        hashes = [leaf_hash(text.encode()) for text in (*self.before, self.leaf, *self.after)]
        path = inclusion_proof(len(self.before), len(hashes), subtree_over(hashes))
        signer = self.log_signer or self.signer
        note = sign_checkpoint(Checkpoint(signer.name, len(hashes), tree_root(hashes)), signer)
        return tlog_proof(len(self.before), path, note)

    @property
    def file(self) -> bytes:
        """The certificate."""
        return certificate_file(self.envelope, self.leaf, self.proof)

    @property
    def parts(self) -> dict[str, Any]:
        """The certificate as a document, to be bent."""
        document: dict[str, Any] = json.loads(self.file)
        return document

    @property
    def opening(self) -> bytes:
        """The file that opens it."""
        return json.dumps(openings_file(self.openings, envelope_digest(self.envelope))).encode()

    @property
    def key(self) -> Key:
        """The key that verifies it."""
        return key_of(self.signer.verifier)


@dataclass
class Drafts:
    """Makes drafts, all alike except for what is asked for."""

    salts: int = field(default=0)

    def __call__(self, *, request: int = 12, classes: tuple[tuple[int, str], ...] = ((3, "cat"),)) -> Draft:
        openings = commit_to(classes, self._salt)
        signer = new_signer(1)
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "pets:1", "digest": {"sha256": "ab" * 32}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "claim": CLAIM,
                "log": signer.name,
                "issuedAt": AT,
                "request": {"id": request, "classes": [opening.commitment for opening in openings]},
                "version": {"model": "pets", "number": 1},
            },
        }
        event = {
            "kind": "certificate.issued",
            "at": AT,
            "model": "pets",
            "request": request,
            "data": {"version": 1, "certificate": 1},
        }
        return Draft(signer, statement, openings, event)

    def _salt(self) -> bytes:
        self.salts += 1
        return self.salts.to_bytes(32)
