"""A file that a person named fails in the same way, whatever it was named for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ledger.cli.request_files import MOST_LINES, read_requests

from ledger.certificates import verifier
from ledger.config import create_config, find_config
from ledger.domain.labels import LabelMap
from ledger.errors import LedgerError, NotFoundError, SignatureError, UsageError, WeightsError
from ledger.named_files import read_bytes, read_text
from ledger.service import signing
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
    os.mkfifo(tmp_path / "pipe")
    # Not by permissions: they do not stop root.
    for path in (tmp_path, tmp_path / "loop", tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="cannot read") as caught:
            read(path)
        assert caught.value.exit_code == 2


def test_what_is_read_and_is_no_text_is_an_error_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(SignatureError, match="is not text"):
        verification.read_text(tmp_path / "latin")


@pytest.mark.parametrize("read", READERS)
def test_a_file_without_end_is_refused_before_it_is_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 2**43)
    with pytest.raises((UsageError, WeightsError), match="more than"):
        read(tmp_path / "large")


def test_what_is_read_through_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\r\ntwo\n")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link") == b"one\r\ntwo\n"
    assert read_text(tmp_path / "link") == "one\ntwo\n"


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    assert len(read_bytes(tmp_path / "file", most=100)) == 100
    with pytest.raises(UsageError, match="more than 99 bytes"):
        read_bytes(tmp_path / "file", most=99)


def test_a_pipe_in_the_place_of_a_ledgers_own_files_is_not_waited_for(tmp_path: Path) -> None:
    config = create_config(tmp_path, "sqlite:///ledger.db", "objects")
    config.keys_path.mkdir(exist_ok=True)
    os.mkfifo(config.keys_path / signing.FILE)
    with pytest.raises(LedgerError, match="not a regular file"):
        signing.load_signer(config)


def test_a_configuration_nested_too_deeply_or_too_large_is_refused(tmp_path: Path) -> None:
    for text in ("x = " + "[" * 5000 + "]" * 5000, "#" * 100_000):
        (tmp_path / "unledger.toml").write_text(text)
        with pytest.raises(UsageError):
            find_config(tmp_path)


def test_the_verifier_that_runs_by_itself_waits_for_no_pipe_and_reads_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    key = "log+00000000+" + "A" * 44
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for arguments in ([str(path)], [str(tmp_path / "nowhere"), "--weights", str(path)]):
            with pytest.raises(SystemExit) as caught:
                verifier.main([*arguments, "--key", key])
            assert caught.value.code == 2


def test_requests_and_labels_have_limits(tmp_path: Path) -> None:
    labels = LabelMap(("cat", "dog"))
    (tmp_path / "lines").write_text("cat\n" * (MOST_LINES + 1))
    with pytest.raises(UsageError, match="more than 100,000 lines"):
        read_requests(str(tmp_path / "lines"), labels, "me")
    for line in ("a" * 9_000_000, '{"classes": ' + "[" * 100_000 + "}", "cat," * 1_000_000 + "cow"):
        (tmp_path / "lines").write_text(line)
        with pytest.raises(UsageError) as caught:
            read_requests(str(tmp_path / "lines"), labels, "me")
        assert len(caught.value.message) < 20_000
    assert len(LabelMap(tuple(map(str, range(65_536))))) == 65_536
