"""A preview tells how far each figure may be off, and is filed from with the day that somebody chose."""

import re

from ledger.domain.paired_difference import PairedCounts
from ledger.report.charts import words
from tests.web.pages.conftest import WREN, Served
from tests.web.pages.foretelling import carry_out


def _previewed(served: Served, *classes: int) -> str:
    """Ask for a preview, have it answered, and return its address."""
    with served.client() as client:
        asked = client.post("/models/1/preview", data={"class": [str(one) for one in classes]})
    carry_out(served)
    return asked.url.path


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page).replace("\u00a0", " "))


def _interval(masked: int, foretold: int) -> tuple[float, float]:
    found = PairedCounts(30, masked, foretold, foretold).interval()
    assert found is not None
    return found


def test_a_preview_tells_the_interval_of_every_change(served: Served) -> None:
    with served.client() as client:
        page = client.get(_previewed(served, WREN)).text
    rows = [_text(row) for row in re.findall("<tr>.*?</tr>", page)]
    for name, then, masked, foretold in (
        ("robin", "retained", 29, 28),
        ("kite", "retained", 29, 29),
        ("wren", "forgotten", 0, 0),
    ):
        low, high = (words.points(-bound) for bound in reversed(_interval(masked, foretold)))
        change = words.points((foretold - masked) / 30)
        assert f" {name} {then} 30 29 {masked} {foretold} {change} {low} to {high} " in rows
    assert re.search(r"points: what forgetting costs; 95 % interval −[0-9.]+ to [+−][0-9.]+", _text(page))
    assert "±" not in page
