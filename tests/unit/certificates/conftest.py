"""Certificates to bend, drafted for each test."""

import pytest

from tests.unit.certificates.drafts import Drafts


@pytest.fixture
def draft() -> Drafts:
    """Draft a certificate."""
    return Drafts()
