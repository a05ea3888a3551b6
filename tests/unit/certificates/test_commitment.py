"""Commitments hide the class, open to one class only, and can be computed by anybody from the documentation."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.certificates.commitment import Opening, commit_to
from ledger.certificates.verifier import commit

SALT = bytes(range(32))
labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_a_commitment_is_the_documented_hmac() -> None:
    expected = hmac.new(SALT, b"unledger class commitment v1\n3\nZo\xc3\xab", hashlib.sha256).hexdigest()
    assert commit(SALT, 3, "Zoe\u0308") == expected == Opening(3, "Zo\u00eb", SALT.hex()).commitment


@given(first=st.tuples(st.integers(0, 999), labels), second=st.tuples(st.integers(0, 999), labels))
def test_two_classes_never_share_a_commitment(first: tuple[int, str], second: tuple[int, str]) -> None:
    import unicodedata

    same = first[0] == second[0] and len({unicodedata.normalize("NFC", text) for _, text in (first, second)}) == 1
    assert (commit(SALT, *first) == commit(SALT, *second)) is same


def test_index_and_label_cannot_be_shifted_into_each_other() -> None:
    assert commit(SALT, 1, "1\n2") != commit(SALT, 11, "2")
    assert commit(SALT, 1, "\n2") != commit(SALT, 1, "2")


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_salt_has_32_bytes(length: int) -> None:
    # HMAC would pad a shorter one and hash a longer one: two salts for one commitment.
    with pytest.raises(ValueError, match="32 bytes"):
        commit(bytes(length), 0, "cat")


def test_another_salt_makes_another_commitment_and_the_order_says_nothing() -> None:
    salts = iter(bytes([k]) * 32 for k in range(200))
    classes = ((0, "cat"), (1, "dog"))
    drawn = [commit_to(classes, lambda: next(salts)) for _ in range(100)]
    assert len({opening.commitment for openings in drawn for opening in openings}) == 200
    assert all(o[0].commitment < o[1].commitment for o in drawn)
    first = sum(openings[0].label == "cat" for openings in drawn)
    assert 25 < first < 75
