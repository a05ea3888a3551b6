"""Canonical bytes: the same value, the same digest."""

import hashlib
import sys
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.digest import canonical_json, json_digest, sha256_hex


def test_canonical_json_sorts_keys_and_spaces_nothing() -> None:
    # Numbers and key order as in RFC 8785, sections 3.2.2.3 and 3.2.3.
    value = {"€": 1, "\r": 2, "a": [1e30, 4.5, 2e-3, 1.0], "1": None, "ö": True}
    assert canonical_json(value) == '{"\\r":2,"1":null,"a":[1e+30,4.5,0.002,1],"ö":true,"€":1}'.encode()


def test_digests_are_lower_case_sha_256() -> None:
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json_digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()


def test_every_character_is_written_as_rfc_8785_writes_it() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 1000):
        some = characters[start : start + 1000]
        assert canonical_json(some) == rfc8785.dumps(some)


@pytest.mark.parametrize(
    "value",
    [
        {"b": [True, None, -5], "a": {"": "", "B": (1, 2)}},
        2**53 - 1,
        [1e30, 1e-7, 0.1, -0.0, 5.0],
        {"\U0001f600": 1, "\uffff": 2, "ö": 3},
        [[[]], {}, ""],
    ],
)
def test_canonical_json_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.recursive(st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers(-99, 99), st.lists))
def test_every_fraction_is_written_as_rfc_8785_writes_it(value: Any) -> None:
    assert canonical_json({"value": value}) == rfc8785.dumps({"value": value})


@pytest.mark.parametrize("power", range(-30, 31))
def test_fractions_of_every_size_are_written_as_rfc_8785_writes_them(power: int) -> None:
    values = [
        sign * float(f"{digits}e{power}") for sign in (1, -1) for digits in ("1", "1.5", "9.999999999999999", "3")
    ]
    assert canonical_json(values) == rfc8785.dumps(values)


def test_what_is_nested_deeply_is_written_too() -> None:
    value: Any = 1
    for _ in range(900):
        value = {"a": value}
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [2**53, "\ud800", {1: 2}, float("nan"), object()])
def test_what_rfc_8785_cannot_write_is_refused(value: Any) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical_json(value)
