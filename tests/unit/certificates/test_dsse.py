"""Envelopes are what other readers of the format expect."""

import base64
import json

from ledger.certificates.dsse import key_of, seal, statement_of
from ledger.certificates.verifier import PAYLOAD_TYPE, envelope_digest, pae
from ledger.digest import json_digest
from tests.unit.certificates.drafts import new_signer


def test_an_envelope_holds_payload_type_and_one_signature() -> None:
    signer = new_signer(1)
    envelope = seal(b'{"a":1}', signer)
    assert envelope.keys() == {"payload", "payloadType", "signatures"}
    assert (envelope["payloadType"], statement_of(envelope)) == ("application/vnd.in-toto+json", {"a": 1})
    [signature] = envelope["signatures"]
    assert signature["keyid"] == "+".join(str(signer.verifier).split("+")[:2]) == key_of(signer.verifier).id
    assert signer.verifier.accepts(pae(PAYLOAD_TYPE, b'{"a":1}'), base64.b64decode(signature["sig"]))


def test_sealing_again_gives_the_same_bytes() -> None:
    assert seal(b"x", new_signer(1)) == seal(b"x", new_signer(1)) != seal(b"x", new_signer(2))


def test_the_digest_is_that_of_the_canonical_form() -> None:
    envelope = seal(b"\xff" * 100, new_signer(1))
    assert envelope_digest(envelope) == json_digest(envelope)
    assert envelope_digest(json.loads(json.dumps(envelope, indent=2))) == json_digest(envelope)
