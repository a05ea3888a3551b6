"""The report as a whole: one file that stands alone, says what the ledger holds, and survives odd ledgers."""

from __future__ import annotations

import base64
import hashlib
import re
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from ledger.domain.events.requests import RequestFulfilled
from ledger.domain.requests import NewRequest
from ledger.domain.states import RequestState
from ledger.errors import LedgerError, NotFoundError, RefusedError
from ledger.report.data.gathering import gather
from ledger.report.page import MOST_ROWS, page_tables, render
from ledger.service.requests.filing import enqueue
from tests.ledgers.reports import write_report

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.sample import NewSample, Sample

VOID = frozenset({"meta", "br", "link", "input", "img", "hr"})


class Page(HTMLParser):
    """Parses strictly: every tag must be closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        return [value or "" for _, name, value in self.attributes if name == attribute]


def page(sample: Sample) -> Page:
    return Page(render(gather(sample.ledger, sample.name)))


def drawings(text: str) -> list[ET.Element]:
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def tamper(sample: Sample, statement: str) -> None:
    """Alter the history as somebody with access to the file can."""
    with closing(sqlite3.connect(sample.ledger.config.root / "ledger.db")) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute(statement)
        database.commit()


# -- the file ---------------------------------------------------------------------------------------


def test_file_needs_nothing_else(sample: Sample) -> None:
    text = render(gather(sample.ledger, sample.name))
    assert "http" not in text.replace("http-equiv", "").lower()
    assert not re.search(r"<script|<link|<img|<iframe|url\(|@import|javascript:", text, re.IGNORECASE)
    names = {name for _, name, _ in Page(text).attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "style", "srcset", "action")}


def test_policy_allows_the_styles_of_the_page_and_nothing_else(sample: Sample) -> None:
    text = render(gather(sample.ledger, sample.name))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(v for v in Page(text).values("content") if v.startswith("default-src"))
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_tags_balance_and_references_lead_somewhere(sample: Sample) -> None:
    found = page(sample)
    ids = Counter(found.values("id"))
    assert set(ids.values()) == {1}
    targets = [value.removeprefix("#") for value in found.values("href")]
    targets += [target for value in found.values("aria-labelledby") for target in value.split()]
    assert targets
    assert set(targets) <= ids.keys()


def test_headings_descend_one_level_at_a_time(sample: Sample) -> None:
    levels = [int(n) for n in re.findall(r"<h([1-6])", render(gather(sample.ledger, sample.name)))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_drawings_are_xml_with_a_name_and_a_description(sample: Sample) -> None:
    found = drawings(render(gather(sample.ledger, sample.name)))
    assert len(found) > 10
    for drawing in found:
        assert drawing.get("role") == "img"
        assert [child.tag for child in drawing][:2] == ["title", "desc"]
        assert all(child.text for child in list(drawing)[:2])


def test_same_ledger_same_bytes(sample: Sample) -> None:
    assert render(gather(sample.ledger, sample.name)) == render(gather(sample.ledger, sample.name))


def test_time_is_printed_once(sample: Sample) -> None:
    sample.later(0.3)  # away from the hour at which requests are due and days are counted
    first = gather(sample.ledger, sample.name)
    before = render(first)
    sample.later(1 / 24 / 60)
    second = gather(sample.ledger, sample.name)
    stamps = [f"{report.now:%Y-%m-%d %H:%M:%S}" for report in (first, second)]
    assert [before.count(stamp) for stamp in stamps] == [1, 0]
    assert render(second) == before.replace(stamps[0], stamps[1])


def test_report_does_not_import_torch() -> None:
    code = "import sys, ledger.report.page; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what it says -----------------------------------------------------------------------------------


def test_every_version_and_forgotten_class_is_there(sample: Sample) -> None:
    text = page(sample).text
    for number in range(4):
        assert f"version {number}" in text
    for name in ("owl", "tit", "crow"):
        assert name in text


def test_verdict_names_what_is_forgotten_and_how_the_rest_fares(sample: Sample) -> None:
    report = gather(sample.ledger, sample.name)
    text = page(sample).text
    assert "Version 3 is live. It was edited to forget owl; retained classes answer correctly" in text
    assert report.live.number == 3


def test_who_gains_against_the_plain_original_is_said_to_lose_against_the_masked_one(new_sample: NewSample) -> None:
    sample = new_sample()
    sample.forget(1)
    recipe = sample.recipe(frozenset({1, 2}))
    scores = {"retained": 0.974, "mask_retained": 0.979, "base_retained": 0.971}
    recipe["search"] |= {name: {"accuracy": share, "confidence": share} for name, share in scores.items()}
    version = sample.forget(2, recipe=recipe)
    shares = {"test": 0.9, "mask_test": 0.95, "base_test": 0.88, "train": 0.9, "base_train": 0.9}
    metrics = {name: {"per_class": [share, 0.0, 0.0, share, share, share]} for name, share in shares.items()}
    sample.record(version, "accuracy", metrics)
    text = page(sample).text
    compared = "masked original 95.0 %: lost 5.0 points; plain original 88.0 %: gained 2.0 points"
    assert f"retained classes answer correctly 90.0 % of the time on test images ({compared})." in text
    assert f"Retained, mean: 90.0 % ({compared})." in text
    assert (
        "97.4 % correct (masked original 97.9 %: lost 0.5 points; plain original 97.1 %: gained 0.3 points; the gate "
        "allows a loss of 5 points against the masked original)"
    ) in text
    chart = next(d for d in drawings(render(gather(sample.ledger, sample.name))) if "Search" in (d[0].text or ""))
    assert "masked original" in [part.text for part in chart.iter()]


def test_where_an_earlier_release_measured_no_mask_none_is_shown(sample: Sample) -> None:
    text = page(sample).text
    assert "masked original" not in text
    assert re.search(r"% of the time on 150.test images, 95 % interval [\d.]+–[\d.]+.% \(\d+\.\d.% before\)\.", text)


def test_verdict_says_when_a_forgotten_class_is_still_recognised(new_sample: NewSample) -> None:
    sample = new_sample()
    version = sample.forget(0, 3)
    metrics = sample.accuracy(6, version.forgotten)
    metrics["test"]["per_class"][3] = 0.12
    sample.record(version, "accuracy", metrics)
    assert "Still recognised more often than the gate of 1.0 % allows: kite (12.0 %)." in page(sample).text


def none_recognised(sample: Sample, images: int) -> str:
    """Record that no test image of class 3 is recognised, of so many; return the page."""
    version = sample.forget(3)
    metrics = sample.accuracy(6, version.forgotten)
    metrics["test"]["per_class"][3] = 0.0
    sample.record(version, "accuracy", metrics)
    before, after = ([[images if k == (j + shift) % 6 else 0 for k in range(6)] for j in range(6)] for shift in (0, 1))
    sample.record(version, "confusion", {"matrix": after, "base_matrix": before})
    return page(sample).text


def test_verdict_says_of_how_few_test_images_none_is_recognised(new_sample: NewSample) -> None:
    text = none_recognised(new_sample(), 3)
    assert "Not one of 3 test images of forgotten classes is recognised." in text
    assert "With 3 images of a class, up to 63.2 % of it may still be (95% confidence)." in text


def test_verdict_does_not_doubt_many_test_images(new_sample: NewSample) -> None:
    text = none_recognised(new_sample(), 1000)
    assert "Not one of 1,000 test images of forgotten classes is recognised." in text
    assert "may still be" not in text


def test_rollback_is_drawn_and_explained(sample: Sample) -> None:
    text = render(gather(sample.ledger, sample.name))
    found = Page(text)
    assert "A rollback reopened 1 request." in found.text
    assert "reopens #2" in found.text
    assert "“the owls <b>complained</b>”" in found.text
    assert "b" not in found.tags
    timeline = drawings(text)[0]
    assert [path for path in timeline.iter("path") if path.get("class") == "way"]


def test_restored_version_shows_evidence_on_its_weights(sample: Sample) -> None:
    text = page(sample).text
    assert "Measured on version 1, which has the very same weights." in text
    assert "The recipe below is that of version 1." in text


def test_withdrawal_says_what_is_known_again(new_sample: NewSample) -> None:
    sample = new_sample()
    sample.forget(0)
    sample.forget(2)
    sample.withdraw(1)
    text = page(sample).text
    assert "because request 1 was withdrawn" in text
    assert "Version 3, 2025-04-04 12:30, withdrawal; knows owl again; live." in text


def test_waived_gates_are_told(new_sample: NewSample) -> None:
    sample = new_sample()
    version = sample.forget(1)
    with sample.ledger.database.write() as tx:
        event = RequestFulfilled(version=version.number, no_op=False, state=RequestState.FULFILLED, gates_missed=2)
        tx.audit.append(event, at=sample.now[0], actor="ada", model=sample.name, request_id=1)
    assert "although it missed 2 quality gates" in page(sample).text


def test_open_requests_come_with_the_days_they_have_left(sample: Sample) -> None:
    sample.later(2)
    text = page(sample).text
    assert "2 open, none overdue" in text
    sample.later(60)
    assert "2 open, 2 overdue" in page(sample).text
    assert re.search(r"\d+ days late", page(sample).text)


def test_reasons_and_people_stay_out(sample: Sample) -> None:
    sample.file(5, reason="my address is 1 Main Street", external_id="T-77")
    text = page(sample).text
    assert "Main Street" not in text
    assert "bob" not in text


def test_limits_are_stated(sample: Sample) -> None:
    text = page(sample).text
    assert "approximate unlearning with recorded evidence" in text
    assert "shows only against the newest signed head that somebody else keeps" in text
    assert "chain of hashes" not in text
    assert "linear probe" in text
    assert "how quickly the forgotten classes come back" in text
    assert "a network retrained without the classes" in text


def test_evidence_that_was_recorded_is_not_called_missing(new_sample: NewSample) -> None:
    sample = new_sample()
    version = sample.forget(1)
    sample.record(version, "accuracy", sample.accuracy(6, version.forgotten))
    lacking = page(sample).text
    assert "what its images are taken for instead" in lacking
    assert "still tells the forgotten classes apart" in lacking
    sample.record(version, "confusion", sample.confusion(6, version.forgotten))
    sample.record(version, "probe", {"accuracy": 0.3, "layers": {"a": [1, 2]}, "note": "<i>", "ok": True})
    found = page(sample)
    told = found.text.split("Not tested")[1].split("To test what comes next")[0]
    assert "what its images are taken for instead" not in told
    assert "still tells the forgotten classes apart" not in told
    assert "Evidence on version 1: L1 outputs" in found.text
    assert "layers.a" in found.text
    assert "i" not in found.tags


@pytest.mark.parametrize(("against", "named"), [("1", "version 1"), ("file", "weights from a file")])
def test_comparison_with_other_weights_stands_beside_and_replaces_nothing(
    new_sample: NewSample, against: str, named: str
) -> None:
    sample = new_sample()
    sample.forget(1)
    version = sample.forget(2)
    other = sample.accuracy(6, version.forgotten)
    sample.record(version, "accuracy", other, against=against)
    alone = page(sample).text
    assert "How well it answers has not been measured." in alone
    assert f"accuracy, against {named}" in alone
    own = sample.accuracy(6, version.forgotten)
    own["test"]["per_class"] = [0.75] * 6
    sample.record(version, "accuracy", own)
    sample.record(version, "accuracy", other, against=against)
    both = page(sample).text
    assert "retained classes answer correctly 75.0 %" in both.replace("\u00a0", " ")
    assert f"accuracy, against {named}" in both


def test_audit_head_is_printed_when_it_verifies(sample: Sample) -> None:
    with sample.ledger.database.read() as tx:
        head = str(tx.audit.head())
    found = page(sample)
    assert re.search(r"31.entries verified; the newest signed head covers 30, signed 2025-04-\d\d 12:30", found.text)
    assert head in found.text
    assert "alert" not in found.values("role")


# -- ledgers that something is wrong with ------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET leaf = replace(leaf, 'bob', 'eve') WHERE seq = 4",
        "UPDATE audit_events SET leaf = 'not JSON' WHERE seq = 4",
        "DELETE FROM audit_events WHERE seq = 4",
    ],
)
def test_broken_history_is_shown_first(sample: Sample, statement: str) -> None:
    tamper(sample, statement)
    found = page(sample)
    assert "alert" in found.values("role")
    assert "The audit history does not verify First bad entry: 4 ." in found.text
    assert "not verified" in found.text
    assert "complained" not in found.text


def test_missing_head_is_shown(sample: Sample) -> None:
    tamper(sample, "DELETE FROM audit_head")
    assert "The audit history does not verify" in page(sample).text


HOSTILE = (
    "<script>alert(1)</script>",
    "</style></svg><img src=x onerror=alert(1)>",
    "{{ model }}{% raw %}",
    "'\"&amp;",
    "x" * 400,
    "日本語の長いラベルの名前です",
    "\x00\x1b[31m\ud800",
    "a\u202egnp.exe",
    "",
    " \n ",
)


def test_hostile_labels_stay_text(new_sample: NewSample) -> None:
    sample = new_sample(HOSTILE)
    sample.measure(sample.forget(*range(5)))
    sample.forget(7)
    sample.roll_back(1, HOSTILE[1])
    text = render(gather(sample.ledger, sample.name))
    found = Page(text)
    text.encode()
    assert not {"script", "img"} & found.tags.keys()
    assert "<script>alert(1)</script>" in found.text
    assert "{{ model }}{% raw %}" in found.text
    assert HOSTILE[4] in found.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", text)
    assert drawings(text)
    assert found.tags.keys() == page(new_sample_of_plain(new_sample)).tags.keys()


def new_sample_of_plain(new_sample: NewSample) -> Sample:
    sample = new_sample([f"class {k}" for k in range(len(HOSTILE))])
    sample.measure(sample.forget(*range(5)))
    sample.forget(7)
    sample.roll_back(1, "reason")
    return sample


def test_model_without_a_past(new_sample: NewSample) -> None:
    text = page(new_sample(("a", "b"))).text
    assert "Version 0 is live, the weights as they were registered. Nothing has been forgotten." in text
    assert "Nothing has been measured on this version." in text
    assert "No request has been filed." in text


def test_live_version_without_evidence(new_sample: NewSample) -> None:
    sample = new_sample()
    sample.measure(sample.forget(0))
    sample.forget(1)
    text = page(sample).text
    assert "How well it answers has not been measured." in text
    assert "unledger evaluate birds:2" in text


NOTHING: dict[str, Any] = {"per_class": [None] * 6, "retained": None, "forgotten": None}


@pytest.mark.parametrize(
    ("evaluator", "metrics"),
    [
        ("accuracy", {}),
        ("accuracy", {"test": NOTHING, "train": NOTHING, "base_test": NOTHING, "base_train": NOTHING}),
        ("accuracy", {"test": {"per_class": [0.5, None, "x", True, 10**400, 0.2]}, "base_test": []}),
        ("accuracy", {"test": {"per_class": [0.5]}}),
        ("confusion", {"matrix": None}),
        ("confusion", {"matrix": [[0] * 6] * 6}),
        ("confusion", {"matrix": [[0] * 6] * 6, "base_matrix": [[1] * 6] * 6}),
        ("confusion", {"matrix": [[-1] * 6] * 6, "base_matrix": "?"}),
        ("membership", {"paper": None, "salun": None, "base_paper": None, "base_salun": None}),
        ("membership", {"paper": 0.5}),
        ("others", {"a": {"b": {"c": None}}, "d": [], "e": ""}),
    ],
)
def test_missing_and_odd_metrics(new_sample: NewSample, evaluator: str, metrics: dict[str, Any]) -> None:
    sample = new_sample()
    sample.record(sample.forget(0, 1), evaluator, metrics)
    text = render(gather(sample.ledger, sample.name))
    Page(text)
    assert all(drawing.get("viewBox") for drawing in drawings(text))
    assert not re.search(r"\bnan\b", text)


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"alpha_r": None, "search": None, "maps": {}, "environment": []},
        {"search": {"trials": [{}, None, {"edit": 0.0, "forgotten": 0.0}], "retained": 0.9, "forgotten": {"x": 1}}},
        {"maps": [{"key": None, "change": 0.0}, {"change": "?"}, {"key": "<b>", "change": 3e9, "retain_rank": None}]},
    ],
)
def test_missing_and_odd_recipes(new_sample: NewSample, recipe: dict[str, Any]) -> None:
    sample = new_sample()
    sample.forget(0, recipe=recipe)
    found = page(sample)
    assert "b" not in found.tags


# -- large models ------------------------------------------------------------------------------------


def test_what_still_tells_forgotten_classes_apart_is_shown_where_it_was_measured(new_sample: NewSample) -> None:
    sample = new_sample()
    assert "look-alikes" not in page(sample).text
    recipe = sample.recipe(frozenset({0}))
    recipe["search"] |= {
        "likeness": {"separability": 0.125, "divergence": 0.0625},
        "base_likeness": {"separability": 0.75, "divergence": 0.5},
    }
    recipe["search"]["trials"][2] |= {"separability": 0.375, "divergence": 0.25}
    sample.forget(0, recipe=recipe)
    text = page(sample).text.replace("\u00a0", " ")
    assert "Forgotten classes, told from look-alikes 12.5 % (masked original 75.0 %)" in text
    assert "Forgotten classes, answers away from look-alikes 6.2 % (masked original 50.0 %)" in text
    assert "told from look-alikes 37.5 %, answers away from look-alikes 25.0 %" in text


def test_hundred_classes(new_sample: NewSample) -> None:
    sample = new_sample([f"class {k}" for k in range(100)])
    sample.measure(sample.forget(3, 4, *range(40, 60)))
    text = render(gather(sample.ledger, sample.name))
    found = Page(text)
    assert "the 15 of 78 retained classes that changed most" in found.text
    assert "Of 78 retained classes" in found.text
    assert "the 15 of 22 forgotten classes that are still recognised most" in found.text
    assert "and 17 more" in found.text
    assert len(text) < 400_000
    rows = next(d for d in drawings(text) if d.get("aria-labelledby", "").startswith("v1-test"))
    assert len(list(rows.iter("g"))) == 22 + 15


# -- writing -----------------------------------------------------------------------------------------


def test_written_file_is_the_page(sample: Sample, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    write_report(sample.ledger, sample.name, output)
    assert output.read_bytes().decode() == render(gather(sample.ledger, sample.name))
    assert [path.name for path in tmp_path.glob("*report*")] == ["report.html"]


def test_unknown_model(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        write_report(sample.ledger, "fish", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["no/such/folder.html", "ledger", "ledger/unledger.toml/x.html"])
def test_file_that_cannot_be_written(sample: Sample, tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LedgerError, match="cannot write"):
        write_report(sample.ledger, sample.name, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_failed_write_leaves_the_old_file(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "report.html"
    output.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LedgerError, match="No space left"):
        write_report(sample.ledger, sample.name, output, force=True)
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.glob(".partial*")] == []


def test_nothing_is_replaced_unasked_and_permissions_stay(sample: Sample, tmp_path: Path) -> None:
    output, link = tmp_path / "report.html", tmp_path / "latest.html"
    write_report(sample.ledger, sample.name, output)
    output.chmod(0o600)
    link.symlink_to(output)
    before = output.read_bytes()
    sample.later(1)
    with pytest.raises(LedgerError, match="it exists") as raised:
        write_report(sample.ledger, sample.name, output)
    assert "--force" in raised.value.hint
    with pytest.raises(RefusedError, match="symbolic link"):
        write_report(sample.ledger, sample.name, link, force=True)
    assert output.read_bytes() == before
    write_report(sample.ledger, sample.name, output, force=True)
    assert output.read_bytes() != before
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_very_many_requests_are_counted_and_the_first_of_them_shown(sample: Sample) -> None:
    due = sample.now[0] + timedelta(days=40)
    new = [NewRequest(frozenset({5}), "bob", due_at=due + timedelta(days=n)) for n in range(MOST_ROWS + 5)]
    numbers = [receipt.request.id for receipt in enqueue(sample.ledger, sample.name, new)]
    report = gather(sample.ledger, sample.name)
    text = render(report)
    many = len(report.open_requests)
    assert many >= MOST_ROWS
    assert f"{many} open" in Page(text).text
    rows = [int(number) for number in re.findall(r'<tr id="request-([0-9]+)"', text)]
    shown = [one for one in rows if one not in {request.id for request in report.requests if not request.is_open}]
    assert len(shown) == MOST_ROWS
    assert f"{many - MOST_ROWS} later ones are left out" in Page(text).text
    # Those that a rollback reopened come first, then the earliest due.
    states = {request.id: request.state for request in report.requests}
    assert states[shown[0]] is RequestState.REOPENED
    assert numbers[-1] not in rows
    (table,) = [one for one in page_tables(report) if one.name == "requests"]
    assert len(table.rows) == len(report.requests)
