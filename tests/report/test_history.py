"""What happened to versions after they were made, with times of day, and what of the history is signed."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger.domain import requests
from ledger.domain.events.ledgers import CertificateIssued
from ledger.domain.events.versions import VersionExported
from ledger.report.data.gathering import gather
from ledger.report.page import page_tables, render
from ledger.report.sections.history_nodes import chronicle, timeline_nodes
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.progress import Silent
from ledger.service.upkeep.purge import plan_purge, purge
from tests.ledgers.sample import NewSample, Sample


def happen(sample: Sample) -> None:
    """Export version 1 and certify it, at different times of one day."""
    at = datetime(2025, 4, 10, 8, 5, tzinfo=UTC)
    events = (VersionExported(version=1, weights="0" * 64), CertificateIssued(certificate=4, version=1, envelope=""))
    with sample.ledger.database.write() as tx:
        for number, event in enumerate(events):
            when = at + timedelta(hours=3 * number)
            request = 1 if isinstance(event, CertificateIssued) else None
            tx.audit.append(event, at=when, actor="ada", model=sample.name, request_id=request)


def test_exports_and_certificates_stand_on_the_timeline_with_their_times(sample: Sample) -> None:
    assert [node.marks for node in timeline_nodes(gather(sample.ledger, sample.name))] == [(), (), (), ()]
    happen(sample)
    nodes = timeline_nodes(gather(sample.ledger, sample.name))
    assert [node.marks for node in nodes] == [(), ("exported 04-10 08:05", "cert. 4 04-10 11:05"), (), ()]
    page = render(gather(sample.ledger, sample.name))
    for told in nodes[1].marks:
        assert re.search(rf"<text[^>]*>{re.escape(told)}</text>", page)


def test_a_purge_shows_when_and_which_weights_are_gone(new_sample: NewSample) -> None:
    sample = new_sample()
    sample.forget(0)
    sample.later(3)
    sample.forget(1)
    sample.later(0.25)
    assert "purged " not in render(gather(sample.ledger, sample.name)).split("<main>")[1].split("A hollow mark")[0]
    window = timedelta(hours=1)
    purge(sample.ledger, plan_purge(sample.ledger, sample.name, window), window, Silent(), clock_is_right=True)
    report = gather(sample.ledger, sample.name)
    when = f"{sample.now[0]:%m-%d %H:%M}"
    nodes = timeline_nodes(report)
    assert [node.marks for node in nodes] == [(f"purged {when}",), (f"purged {when}",), ()]
    assert [bool(node.purged) for node in nodes] == [True, True, False]
    last = chronicle(report)[-1]
    assert (last.what, last.version) == ("purged", None)
    assert last.details == "weights of versions 0 and 1 destroyed; version 2 is what computations start from now"
    assert 'class="node base purged"' in render(report)


def test_everything_stands_in_the_order_in_which_it_happened(sample: Sample) -> None:
    happen(sample)
    report = gather(sample.ledger, sample.name)
    rows = chronicle(report)
    assert [row.when for row in rows] == sorted(row.when for row in rows)
    assert [row.what for row in rows] == [*["version made"] * 4, "exported", "certificate issued"]
    assert rows[5].details == "certificate 4 for request 1"
    (table,) = (table for table in page_tables(report) if table.name == "history")
    assert len(table.rows) == len(rows)


def test_times_are_those_of_the_ledgers_zone(sample: Sample) -> None:
    happen(sample)
    config = sample.ledger.config.root / "unledger.toml"
    report = gather(sample.ledger, sample.name)
    assert "times are those of UTC" in render(report)
    object.__setattr__(sample.ledger.config, "time_zone", "Asia/Tokyo")
    page = render(gather(sample.ledger, sample.name))
    assert "exported 04-10 17:05" in page
    assert "times are those of JST" in page
    assert config.is_file()


def test_a_due_date_that_the_zone_cannot_show_is_shown_as_it_is(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        # Filed before such dates were refused.
        earlier.setattr(requests, "require_in_calendar", lambda _moment, _what: None)
        sample.file(5, due_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    object.__setattr__(sample.ledger.config, "time_zone", "Asia/Tokyo")
    assert "9999-12-31" in render(gather(sample.ledger, sample.name))


def test_the_newest_signed_head_is_shown_and_checked(sample: Sample) -> None:
    sample.later(1)
    signed = issue_checkpoint(sample.ledger)
    happen(sample)
    report = gather(sample.ledger, sample.name)
    assert report.audit.signed is not None
    assert (report.audit.signed.size, report.audit.signed.root) == (signed.size, signed.root)
    page = render(report)
    assert signed.root in page
    assert report.audit.root != signed.root
    assert report.audit.root in page
    assert "signature checked" in page


def test_without_the_key_a_signature_is_not_called_checked(sample: Sample) -> None:
    issue_checkpoint(sample.ledger)
    (Path(sample.ledger.config.keys_path) / "signing.key").unlink()
    page = render(gather(sample.ledger, sample.name))
    assert "its signature was not checked for want of the key" in page
    assert "signature checked" not in page
