"""Due dates in the time zone of the ledger: what is due today is not late before tomorrow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from ledger.errors import UsageError
from tests.ledgers.command_line import Cli

if TYPE_CHECKING:
    from pathlib import Path

KIRITIMATI, NIUE = "Pacific/Kiritimati", "Pacific/Niue"
"""Fourteen hours before UTC, and eleven behind: one of them has another day than UTC at any time."""


@pytest.mark.parametrize("zone", [KIRITIMATI, NIUE])
def test_a_request_of_yesterday_that_is_due_today_is_not_late(pets: Cli, zone: str) -> None:
    toml = pets.root / "unledger.toml"
    toml.write_text(toml.read_text() + f'time_zone = "{zone}"\n')
    today = datetime.now(ZoneInfo(zone)).date()
    table = pets("forget", "pets", "-c", "cat", "--received-at", "yesterday", "--due", "today").out
    assert f"{today} (0 d)" in table
    [request] = pets.json("request", "list")["items"]
    received, due = (datetime.fromisoformat(request[key]) for key in ("received_at", "due_at"))
    assert received.astimezone(ZoneInfo(zone)).isoformat()[:19] == f"{today - timedelta(days=1)}T00:00:00"
    assert due.astimezone(ZoneInfo(zone)).isoformat()[:19] == f"{today}T23:59:59"
    assert received.utcoffset() == due.utcoffset() == timedelta()
    assert pets("status", "--overdue").err.count("past their due dates") == 0
    pets("forget", "pets", "-c", "dog", "--received-at", "2026-01-01", "--due", "yesterday")
    assert "requests 2" in pets("status", "--overdue", code=8).err
    pets.verified()


def test_nothing_is_received_in_the_future(odd: Cli) -> None:
    with odd.unchanged():
        for received in ("2099-01-01", "9998-12-31", "tomorrow", "+1d", "in 3 weeks", "+1h", "2099-01-01T00:00Z"):
            line = f'{{"classes": ["eel"], "received_at": "{received}"}}\n'
            for answer in (
                odd("forget", "pets", "-c", "eel", "--received-at", received, code=2),
                odd("forget", "pets", "-f", "-", text=line, code=2),
            ):
                assert type(answer.error) is UsageError
                assert "cannot be received in the future" in answer.err
                assert " UTC lies after now, " in answer.err


def test_a_clock_a_little_behind_does_not_matter(odd: Cli) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=60)
    odd("forget", "pets", "-c", "eel", "--received-at", soon.isoformat())


def test_a_new_ledger_may_name_its_time_zone(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "ledger")
    cli("init", str(cli.root), "--time-zone", "Asia/Tokyo")
    assert 'time_zone = "Asia/Tokyo"\n' in (cli.root / "unledger.toml").read_text()
    assert " JST" in cli("audit", "log").out
    cli("backup", str(tmp_path / "backup"))
    cli("restore", str(tmp_path / "backup"), "--into", str(tmp_path / "restored"))
    assert (tmp_path / "restored" / "unledger.toml").read_text().count("time_zone") == 1


def test_a_time_zone_must_be_known(odd: Cli, tmp_path: Path) -> None:
    toml = odd.root / "unledger.toml"
    before = toml.read_text()
    for zone in ("Mars/Base", "../../etc/passwd", "/etc/localtime", "", "Europe", "berlin", "\x00", "a" * 5000):
        result = Cli(tmp_path / "new")("init", str(tmp_path / "new"), "--time-zone", zone, code=2)
        assert "names no time zone that is known here" in result.err
        assert not (tmp_path / "new" / "unledger.toml").exists()
        spelled = zone.replace("\x00", "\\u0000")
        toml.write_text(before + f'time_zone = "{spelled}"\n')
        said = odd("status", code=2).err
        toml.write_text(before)
        assert "names no time zone" in said
    odd.verified()


@pytest.mark.parametrize("name", ["-x", "-json", "-"])
def test_a_models_name_is_not_taken_for_an_option(odd: Cli, name: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"")
    options = ("--arch", "f.py:f", "--weights", str(tmp_path / "weights"), "--data", "digits")
    assert "cannot be a model's name" in odd.refused(UsageError, 2, "model", "add", *options, "--", name).err
