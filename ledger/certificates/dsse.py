"""Signed envelopes in the DSSE v1 format: a payload, its type, and a signature over both.

The signature covers the payload's bytes as they are (:func:`ledger.certificates.verifier.pae`), so verifying needs no
canonical form. Source: https://github.com/secure-systems-lab/dsse.
"""

import base64
import json
from typing import Any

from ledger.audit.signed_notes import Signer, Verifier

from .verifier import PAYLOAD_TYPE, Key, pae


def seal(payload: bytes, signer: Signer) -> dict[str, Any]:
    """Sign the bytes of an in-toto statement and return the envelope."""
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {
                "keyid": key_of(signer.verifier).id,
                "sig": base64.b64encode(signer.sign(pae(PAYLOAD_TYPE, payload))).decode(),
            }
        ],
    }


def statement_of(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the statement in an envelope from the ledger's own database, without verifying it."""
    statement: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return statement


def key_of(verifier: Verifier) -> Key:
    """Return a public key in the form that the certificate verifier takes."""
    return Key(verifier.name, verifier.key)
