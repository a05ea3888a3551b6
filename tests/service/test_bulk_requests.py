"""Files of requests: every format, every bad line, and out again as other programs read them."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar

from ledger.config import create_config, find_config
from ledger.desk.local.desk import LocalDesk
from ledger.documents.request_tables import requests_calendar, requests_csv, requests_jsonl
from ledger.domain.requests import Request
from ledger.errors import IdempotencyConflictError, TooFewRetainedError, UnknownClassError, UsageError
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.requests.bulk import check_bulk, file_bulk
from ledger.service.requests.bulk_files import BulkFormat, detect
from tests.ledgers.command_line import Cli
from tests.ledgers.sample import LABELS, START, Sample

HEADER = "classes,reason,basis,external_id,received_at,due_at,idempotency_key\n"
TABLE = HEADER + (
    "owl,she asked,gdpr-17,T-1,2025-03-01,2025-04-30,k-1\n"
    'jay;tit,"two lines\nof reason, with a comma",,,,,k-2\n'
    '"[""kite""]",,,,,,\n'
)


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Sample]:
    create_ledger(create_config(tmp_path, "sqlite:///ledger.db", "objects"), "ada", clock=lambda: START).close()
    now = [START]
    sample = Sample(open_ledger(find_config(tmp_path), "ada", clock=lambda: now[0]), now)
    sample.register(LABELS)
    yield sample
    sample.ledger.close()


def filed(ledger: Ledger) -> list[tuple[frozenset[int], str, str]]:
    with ledger.database.read() as tx:
        return [(r.classes, r.reason, r.external_id) for r in tx.requests.all()]


@pytest.mark.parametrize("encode", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_table_is_filed_whatever_program_wrote_it(sample: Sample, encode: str, ends: str) -> None:
    text = TABLE.replace("\n", ends).encode(encode).decode()
    receipts = file_bulk(sample.ledger, sample.name, text)
    assert filed(sample.ledger) == [
        (frozenset({0}), "she asked", "T-1"),
        (frozenset({1, 2}), "two lines\nof reason, with a comma", ""),
        (frozenset({3}), "", ""),
    ]
    assert receipts[0].request.due_at == datetime(2025, 4, 30, 23, 59, 59, tzinfo=UTC)
    assert receipts[0].request.received_at == datetime(2025, 3, 1, tzinfo=UTC)
    # Sent again: what has a key is not filed twice.
    assert [r.repeated for r in file_bulk(sample.ledger, sample.name, TABLE)] == [True, True, False]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_of_other_countries_part_cells_in_other_ways(sample: Sample, delimiter: str) -> None:
    text = f'Classes{delimiter}External ID\n"owl;jay"{delimiter}T-1\n'
    file_bulk(sample.ledger, sample.name, text)
    assert filed(sample.ledger) == [(frozenset({0, 1}), "", "T-1")]


def test_json_lines_are_filed(sample: Sample) -> None:
    lines = [{"classes": ["owl"], "reason": "a\u2028b"}, {"classes": ["jay", "index:2"]}]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    file_bulk(sample.ledger, sample.name, text, form=BulkFormat.JSONL)
    assert [(classes, reason) for classes, reason, _ in filed(sample.ledger)] == [
        (frozenset({0}), "a\u2028b"),
        (frozenset({1, 2}), ""),
    ]


@pytest.mark.parametrize(
    ("text", "name", "form"),
    [
        ("classes,reason\n", "", BulkFormat.CSV),
        ("\ufeffCLASSES;due at\n", "", BulkFormat.CSV),
        ("anything", "requests.CSV", BulkFormat.CSV),
        ("{}", "requests.jsonl", BulkFormat.JSONL),
        ("owl, jay\n", "", BulkFormat.LINES),
        ("classes, jay\n", "", BulkFormat.LINES),
        ('{"classes": ["owl"]}', "requests.txt", BulkFormat.LINES),
    ],
)
def test_the_format_is_told_by_name_and_first_line(text: str, name: str, form: BulkFormat) -> None:
    assert detect(text, name) is form


BAD = HEADER + (
    "owl,fine,,,,,k-1\n"
    "eagle,,,,,,\n"
    ",no class,,,,,\n"
    "jay,,,,,soon,\n"
    "jay,,,,2025-04-30,2025-03-01,\n"
    "jay\n"
    "tit,another body,,,,,k-1\n"
    "wren,fine,,,,,k-9\n"
)


def test_a_dry_run_names_every_bad_line_and_files_nothing(sample: Sample) -> None:
    before = filed(sample.ledger)
    check = check_bulk(sample.ledger, sample.name, BAD)
    assert [(bad.line, type(bad.error)) for bad in check.bad] == [
        (3, UnknownClassError),
        (4, UsageError),
        (5, UsageError),
        (6, UsageError),
        (7, UsageError),
        (8, IdempotencyConflictError),
    ]
    assert "'soon' is no date" in check.bad[2].error.message
    assert "received in the future" in check.bad[3].error.message
    assert "1 cells" in check.bad[4].error.message
    assert (check.form, check.fit) == (BulkFormat.CSV, 2)
    assert filed(sample.ledger) == before
    with pytest.raises(UnknownClassError, match="the file:3: no class is called 'eagle'") as caught:
        file_bulk(sample.ledger, sample.name, BAD)
    assert "3 more lines are bad" in caught.value.hint
    assert filed(sample.ledger) == before


UNFIT = [
    {"reason": "a\0b"},
    {"reason": "x" * 10_001},
    {"basis": "x" * 101},
    {"external_id": "x" * 201},
    {"idempotency_key": "x" * 201},
    {"idempotency_key": "k\0"},
    {"idempotency_key": ""},
    {"due_at": "9999-12-31T23:59:59Z"},
]


def test_json_lines_hold_no_more_than_other_ways_in(sample: Sample) -> None:
    text = "".join(json.dumps({"classes": ["owl"], **said}) + "\n" for said in UNFIT)
    check = check_bulk(sample.ledger, sample.name, text, form=BulkFormat.JSONL)
    assert [(bad.line, type(bad.error)) for bad in check.bad] == [(n, UsageError) for n in range(1, len(UNFIT) + 1)]
    assert filed(sample.ledger) == []


def test_a_dry_run_of_one_good_line_says_so_and_shows_no_table(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("classes\nowl\n")
    (tmp_path / "wrong.csv").write_text("classes\nnobody\n")
    cli = Cli(tmp_path)
    good = cli("forget", sample.name, "-f", str(tmp_path / "one.csv"), "--dry-run")
    assert good.out == ""
    assert "1 request of" in good.err
    bad = cli("forget", sample.name, "-f", str(tmp_path / "wrong.csv"), "--dry-run", code=2)
    assert "what is wrong" in bad.out
    assert "0 requests of" in bad.err
    assert "1 line of" in bad.err


def test_a_request_that_leaves_too_little_is_bad_and_those_behind_it_are_not(sample: Sample) -> None:
    text = "owl,jay\ntit,kite,crow,wren\ntit\n"
    check = check_bulk(sample.ledger, sample.name, text)
    assert [(bad.line, type(bad.error)) for bad in check.bad] == [(2, TooFewRetainedError)]
    assert check.fit == 2
    with pytest.raises(TooFewRetainedError):
        file_bulk(sample.ledger, sample.name, text)
    assert filed(sample.ledger) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no request"),
        (HEADER, "holds no request"),
        ("classes,actor\nowl,me\n", "it has 'actor'"),
        ("classes,classes\nowl,jay\n", "each column once"),
        ("reason\nshe asked\n", "needs classes"),
    ],
)
def test_a_file_that_is_no_list_of_requests_is_refused(sample: Sample, text: str, said: str) -> None:
    for act in (check_bulk, file_bulk):
        with pytest.raises(UsageError, match=said):
            act(sample.ledger, sample.name, text, form=BulkFormat.CSV)


def test_a_quotation_mark_that_never_ends_is_one_bad_line(sample: Sample) -> None:
    check = check_bulk(sample.ledger, sample.name, 'classes,reason\nowl,fine\njay,"never ends\nkite,\n')
    assert [bad.line for bad in check.bad] == [3]


def test_what_is_written_as_csv_is_read_as_the_same_requests(sample: Sample) -> None:
    hostile = ("=HYPERLINK(1)", "+1", "-2", "@x", "plain", 'with "quotes", and ; signs')
    for number, reason in enumerate(hostile):
        sample.file(number % 3, reason=reason, external_id=f"T-{number}")
    items = LocalDesk(sample.ledger).requests.all()["items"]
    rows = list(csv.DictReader(io.StringIO(requests_csv(items).decode(), newline="")))
    assert [row["reason"][:1] for row in rows[:4]] == ["'"] * 4
    wanted = ("classes", "reason", "external_id")
    again = io.StringIO()
    writer = csv.DictWriter(again, wanted, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    before = filed(sample.ledger)
    file_bulk(sample.ledger, sample.name, again.getvalue())
    assert filed(sample.ledger) == before * 2


def test_an_exported_table_is_filed_as_it_is(sample: Sample) -> None:
    sample.file(0, reason="=why", external_id="T-1", basis="gdpr-17")
    sample.file(1, 2)
    items = LocalDesk(sample.ledger).requests.all()["items"]
    table = requests_csv(items).decode()
    before = [(r.classes, r.reason, r.external_id, r.received_at, r.due_at) for r in stored(sample.ledger)]
    file_bulk(sample.ledger, sample.name, table, name="requests.csv")
    after = [(r.classes, r.reason, r.external_id, r.received_at, r.due_at) for r in stored(sample.ledger)]
    assert after == before * 2
    assert detect(table) is BulkFormat.CSV


def stored(ledger: Ledger) -> list[Request]:
    with ledger.database.read() as tx:
        return [*tx.requests.all()]


def test_labels_with_the_separator_travel_as_a_list(tmp_path: Path) -> None:
    item = {"classes": ["a;b", " c"], "id": 1, "model": "m", "state": "queued"}
    row = next(csv.DictReader(io.StringIO(requests_csv([{**dict.fromkeys(COLUMNS), **item}]).decode())))
    assert json.loads(row["classes"]) == ["a;b", " c"]


COLUMNS = next(csv.reader(io.StringIO(requests_csv([]).decode())))


def test_json_lines_hold_the_documents(sample: Sample) -> None:
    sample.file(0, reason="Zoë")
    items = LocalDesk(sample.ledger).requests.all()["items"]
    [line] = requests_jsonl(items).decode().splitlines()
    assert json.loads(line)["reason"] == "Zoë"
    assert datetime.fromisoformat(json.loads(line)["due_at"]) == items[0]["due_at"]


def calendar_of(sample: Sample, *, with_classes: bool) -> bytes:
    items = LocalDesk(sample.ledger).requests.all()["items"]
    zone = ZoneInfo("Europe/Berlin")
    days = [(item, item["due_at"].astimezone(zone).date()) for item in items]
    return requests_calendar(days, log="unledger/0a", now=sample.now[0], with_classes=with_classes)


def test_due_dates_are_a_calendar_that_names_no_class(sample: Sample) -> None:
    sample.file(0, due_at=datetime(2025, 5, 31, 21, 59, 59, tzinfo=UTC))
    sample.file(1, 2)
    data = calendar_of(sample, with_classes=False)
    events = list(Calendar.from_ical(data).walk("VEVENT"))
    assert [str(event["UID"]) for event in events] == ["request-1@unledger/0a", "request-2@unledger/0a"]
    assert events[0].decoded("DTSTART") == date(2025, 5, 31)
    assert not [name for name in (*LABELS, sample.name) if name.encode() in data]
    sample.later()
    # The same event once more, not another one.
    later = list(Calendar.from_ical(calendar_of(sample, with_classes=False)).walk("VEVENT"))
    assert [event["UID"] for event in later] == [event["UID"] for event in events]


def test_long_and_strange_labels_keep_the_calendar_whole(sample: Sample) -> None:
    sample.name = "strange"
    labels = ("a,b;c\\d", "日本" * 60, "BEGIN:VEVENT\r\nX", "plain", "more", "most")
    sample.register(labels)
    sample.file(0, 1, 2)
    data = calendar_of(sample, with_classes=True)
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    [event] = Calendar.from_ical(data).walk("VEVENT")
    told = str(event["SUMMARY"])
    assert labels[0] in told
    assert labels[1] in told
    assert data.count(b"BEGIN:VEVENT\r\n") == 1
