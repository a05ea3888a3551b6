"""A file that a person named fails in the same way, whatever it was named for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ledger.errors import NotFoundError, SignatureError, UsageError
from ledger.named_files import read_bytes, read_text
from ledger.service.audit import verification
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from collections.abc import Callable

READERS = [read_bytes, read_text, verification.read_text, tensor_files.read_file]


@pytest.mark.parametrize("read", READERS)
def test_a_missing_file_is_not_found(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(NotFoundError, match=r"there is no .*nowhere") as caught:
        read(tmp_path / "nowhere")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("read", READERS)
def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    # Not by permissions: they do not stop root.
    for path in (tmp_path, tmp_path / "loop"):
        with pytest.raises(UsageError, match="cannot read") as caught:
            read(path)
        assert caught.value.exit_code == 2


def test_what_is_read_and_is_no_text_is_an_error_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(SignatureError, match="is not text"):
        verification.read_text(tmp_path / "latin")
