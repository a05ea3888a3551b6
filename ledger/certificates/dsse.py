"""Signed envelopes in the DSSE v1 format: a payload, its type, and a signature over both.

The signature is over the payload's bytes as they are (:func:`ledger.certificates.verifier.pae`), so nothing ever
has to be put into canonical form to be verified.
"""

import base64
import json
from typing import Any

from ledger.audit.signed_notes import Signer, Verifier

from .verifier import PAYLOAD_TYPE, Key, pae


def seal(payload: bytes, signer: Signer) -> dict[str, Any]:
    """Return the envelope of an in-toto statement's bytes, signed."""
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
    """Return the statement in an envelope of ours. It is not verified."""
    statement: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return statement


def key_of(verifier: Verifier) -> Key:
    """Return a public key as the verifier of certificates takes it."""
    return Key(verifier.name, verifier.key)
