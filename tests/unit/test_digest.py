"""Canonical bytes: the same value, the same digest."""

import hashlib

from ledger.digest import canonical_json, json_digest, sha256_hex


def test_canonical_json_sorts_keys_and_spaces_nothing() -> None:
    # Numbers and key order as in RFC 8785, sections 3.2.2.3 and 3.2.3.
    value = {"€": 1, "\r": 2, "a": [1e30, 4.5, 2e-3, 1.0], "1": None, "ö": True}
    assert canonical_json(value) == '{"\\r":2,"1":null,"a":[1e+30,4.5,0.002,1],"ö":true,"€":1}'.encode()


def test_digests_are_lower_case_sha_256() -> None:
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json_digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
