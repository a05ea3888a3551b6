"""A ledger's configuration is whole or absent: half of one would be in the way of every later attempt."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from ledger.config import FILE, create_config, find_config
from ledger.errors import ConflictError, LedgerError, UsageError


def test_a_configuration_that_cannot_be_flushed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(LedgerError, match="No space left"):
            create_config(tmp_path, "sqlite:///ledger.db", "objects")
    assert list(tmp_path.iterdir()) == []
    created = create_config(tmp_path, "sqlite:///ledger.db", "objects")
    assert find_config(tmp_path) == created


def test_a_configuration_is_never_overwritten(tmp_path: Path) -> None:
    first = create_config(tmp_path, "sqlite:///ledger.db", "objects")
    with pytest.raises(ConflictError, match="already holds a ledger"):
        create_config(tmp_path, "sqlite:///other.db", "others")
    assert find_config(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["unledger.toml"]


def test_what_may_be_kept_of_activations_is_a_number_of_megabytes(tmp_path: Path) -> None:
    assert create_config(tmp_path, "sqlite:///ledger.db", "objects").kept_activations == 1024
    written = (tmp_path / FILE).read_text()
    for right in (0, 200):
        (tmp_path / FILE).write_text(f"kept_activations = {right}\n{written}")
        assert find_config(tmp_path).kept_activations == right
    for wrong in ("-1", "1.5", '"200 MB"', "true"):
        (tmp_path / FILE).write_text(f"kept_activations = {wrong}\n{written}")
        with pytest.raises(UsageError, match="kept_activations"):
            find_config(tmp_path)
