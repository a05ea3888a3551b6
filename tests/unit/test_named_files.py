"""A file that a person named fails in the same way, whatever it was named for."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ledger.cli.bulk_requests import bulk_text

from ledger.certificates import verifier
from ledger.config import create_config, find_config
from ledger.domain.labels import LabelMap
from ledger.errors import LedgerError, NotFoundError, SignatureError, UsageError, WeightsError
from ledger.named_files import read_bytes, read_text
from ledger.service import signing
from ledger.service.audit import verification
from ledger.service.requests.bulk_files import MOST_LINES, detect, read_bulk
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.requests import NewRequest

NOW = datetime(2026, 1, 5, tzinfo=UTC)
READERS = [read_bytes, read_text, verification.read_text, tensor_files.read_file]


def read_requests(file: Path, labels: LabelMap) -> tuple[NewRequest, ...]:
    """Read a file of requests as the command line and a service do together; its first bad line is raised."""
    text = bulk_text(str(file))
    read = read_bulk(text, detect(text), labels, "me", NOW, UTC, source="lines")
    for bad in read.bad:
        raise bad.located("lines")
    return read.requests


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
    (tmp_path / "latin").write_bytes(b"\xff\xfc")
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
        read_requests(tmp_path / "lines", labels)
    for line in ("a" * 9_000_000, '{"classes": ' + "[" * 100_000 + "}", "cat," * 1_000_000 + "cow"):
        (tmp_path / "lines").write_text(line)
        with pytest.raises(UsageError) as caught:
            read_requests(tmp_path / "lines", labels)
        assert len(caught.value.message) < 20_000
    assert len(LabelMap(tuple(map(str, range(65_536))))) == 65_536


@pytest.mark.parametrize(
    "data",
    ["a\nb\n".encode("utf-8-sig"), b"a\r\nb\r\n", "a\r\nb\r\n".encode("utf-8-sig"), b"a\rb\r"],
    ids=["mark", "dos", "both", "mac"],
)
def test_marks_and_ends_of_lines_say_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert read_text(tmp_path / "file") == "a\nb\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("read", [read_text, verification.read_text])
def test_sixteen_bits_a_character_are_refused_with_what_to_do(
    tmp_path: Path, encoding: str, read: Callable[[Path], object]
) -> None:
    (tmp_path / "file").write_bytes("cat\ndog\n".encode(encoding))
    with pytest.raises(UsageError, match="in UTF-16") as caught:
        read(tmp_path / "file")
    assert caught.value.hint == "save it again as UTF-8"


def test_a_configuration_may_begin_with_a_mark(tmp_path: Path) -> None:
    create_config(tmp_path, "sqlite:///ledger.db", "objects")
    file = tmp_path / "unledger.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert find_config(tmp_path).store == "objects"


@pytest.mark.parametrize(
    "line",
    [
        '{"classes": ["cat"], "classes": ["dog"]}',
        '{"classes": ["cat"], "reason": "a", "reason": "a"}',
        '{"classes": ["cat"], "due_at": "2031-01-01", "due_\\u0061t": "2032-01-01"}',
    ],
)
def test_a_request_says_everything_once(tmp_path: Path, line: str) -> None:
    (tmp_path / "lines").write_text(line)
    with pytest.raises(UsageError, match="is given twice"):
        read_requests(tmp_path / "lines", LabelMap(("cat", "dog")))


def test_requests_may_come_from_an_editor_that_marks_what_it_saves(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(
        '# ours\r\ncat\r\n{"classes": ["dog"], "due_at": "in 2 days"}\r\n'.encode("utf-8-sig")
    )
    first, second = read_requests(tmp_path / "lines", LabelMap(("cat", "dog")))
    assert (first.classes, second.classes) == (frozenset({0}), frozenset({1}))
    assert second.due_at == datetime(2026, 1, 7, 23, 59, 59, tzinfo=UTC)
