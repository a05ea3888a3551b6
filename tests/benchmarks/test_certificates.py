"""What is timed are distinct certificates that verify, in trees as high as asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.certificates.dsse import key_of
from ledger.certificates.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def test_every_certificate_is_another_one_and_verifies(script: Callable[[str], Any]) -> None:
    certificates = script("certificates")
    signer, files = certificates.make(3, 1000, 1)
    found = [verify(file, key_of(signer.verifier)) for file in files]
    assert [one.request for one in found] == [1, 2, 3]
    assert {one.size for one in found} == {1000}
    assert len({one.envelope for one in found}) == 3
    assert certificates.make(3, 1000, 1)[1] == files


def test_the_figures_are_printed(script: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert script("certificates").main(["--count", "2", "--log", "5"]) > 0
    assert capsys.readouterr().out.startswith("2 certificates of ")
