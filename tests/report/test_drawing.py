"""The parts that draw and word: pure functions, so each rule is checked by itself."""

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import VersionKind
from ledger.report.charts.dumbbells import DumbbellGroup, DumbbellRow, dumbbells, scale_start
from ledger.report.charts.heatmap import LEVELS, level
from ledger.report.charts.svg import element, shorten, shorten_middle, text_width
from ledger.report.charts.timeline import TimelineVersion, lanes_left_out, timeline
from ledger.report.charts.words import listing, percent, points, size
from ledger.report.data.metrics import ClassAccuracies, read_accuracy, read_confusion
from ledger.report.sections.class_selection import select_classes

texts = st.text(max_size=80)
shares = st.none() | st.floats(0, 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


# -- text --------------------------------------------------------------------------------------------


@given(texts, texts)
def test_any_text_becomes_valid_xml(inside: str, attribute: str) -> None:
    found = ET.fromstring(element("text", inside, data_name=attribute))
    assert found.tag == "text"
    assert len(found) == 0


@given(texts, st.integers(20, 200))
@pytest.mark.parametrize("cut", [shorten, shorten_middle])
def test_shortened_text_fits(cut: Callable[..., str], text: str, room: int) -> None:
    # A text of one sign is kept even where there is no room for it.
    assert text_width(cut(text, room)) <= max(room, text_width("…") + 12)


def test_shortened_names_stay_apart() -> None:
    assert shorten_middle("Eurasian Oystercatcher 5", 90) != shorten_middle("Eurasian Oystercatcher 45", 90)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0 %"), (0.0001, "under 0.1 %"), (0.98765, "98.8 %"), (0.9999, "over 99.9 %"), (1.0, "100.0 %")],
)
def test_percent_never_rounds_to_none_or_all(share: float | None, text: str) -> None:
    assert percent(share).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (0.1, "+10.0"),
        (-0.1, "−10.0"),
        (-0.0001, "−0.01"),
        (0.000004, "+0.0004"),
        (-1e-17, "0.0"),
        (0, "0.0"),
        (None, "–"),
    ],
)
def test_points_carry_a_sign_and_no_difference_is_rounded_away(change: float | None, text: str) -> None:
    assert points(change) == text


def test_lists_read_like_sentences() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(list("abcdefgh"), 4) == "a, b, c and 5 more"


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 bytes"), (999, "999 bytes"), (2_500_000, "2.5 MB"), (3e12, "3000.0 GB")]
)
def test_sizes(amount: float, text: str) -> None:
    assert size(amount).replace("\u00a0", " ") == text


# -- reading -----------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(["test", "base_test", "matrix", "base_matrix"]), json_values))
def test_reading_metrics_never_fails(metrics: dict[str, Any]) -> None:
    read_accuracy(metrics, 2)
    read_confusion(metrics, 2)


@given(st.dictionaries(st.sampled_from(["search", "maps", "alpha_r", "environment", "edit"]), json_values))
def test_reading_recipes_never_fails(values: Any) -> None:
    recipe = VersionRecipe(values)
    for name in dir(VersionRecipe):
        getattr(recipe, name)


def test_confusion_is_normalised_by_row() -> None:
    found = read_confusion({"matrix": [[0, 4], [0, 0]], "base_matrix": [[3, 1], [0, 0]]}, 2)
    assert found is not None
    assert found.change(0, 0) == -0.75
    assert found.change(0, 1) == 0.75
    assert found.change(1, 0) is None
    assert found.after.top(0, 3) == ((1, 1.0),)


# -- choosing ----------------------------------------------------------------------------------------


def test_retained_classes_are_sorted_by_loss() -> None:
    answers = ClassAccuracies(before=(1.0, 1.0, 1.0, None, 1.0), after=(0.0, 0.9, 0.5, 0.1, 1.0))
    chosen = select_classes(answers, frozenset({0}))
    assert chosen.forgotten == (0,)
    assert chosen.retained == (2, 1, 4, 3)
    assert chosen.note == ""


@given(st.lists(st.tuples(shares, shares), min_size=21, max_size=60), st.sets(st.integers(0, 20), max_size=12))
def test_selection_keeps_the_largest_changes(
    pairs: list[tuple[float | None, float | None]], forgotten: set[int]
) -> None:
    answers = ClassAccuracies(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
    chosen = select_classes(answers, frozenset(forgotten))
    assert set(chosen.forgotten) == forgotten
    left_out = set(range(len(pairs))) - forgotten - set(chosen.retained)
    assert bool(left_out) == bool(chosen.note)
    smallest = min((abs(answers.change(k) or 0.0) for k in chosen.retained), default=1.0)
    assert all(abs(answers.change(k) or 0.0) <= smallest for k in left_out)


# -- drawing -----------------------------------------------------------------------------------------


@given(rows=st.lists(st.builds(DumbbellRow, texts, shares, shares), min_size=1, max_size=6), zoom=st.booleans())
def test_marks_lie_inside_the_drawing(rows: list[DumbbellRow], *, zoom: bool) -> None:
    found = ET.fromstring(dumbbells("x", "t", [DumbbellGroup("g", tuple(rows), (None, 0.5), zoom=zoom)]))
    for circle in found.iter("circle"):
        assert 60 <= float(circle.get("cx", 0)) <= 300
    assert len(list(found.iter("circle"))) == sum(row.before is not None for row in rows)
    assert len(list(found.iter("polygon"))) == sum(row.after is not None for row in rows)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_zoomed_scale_holds_every_share(values: Any) -> None:
    start = scale_start([DumbbellRow("a", value, None) for value in values])
    assert 0 <= start <= min(0.9, *values, 0.9)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_colour_steps_keep_order_and_sign(a: float, b: float) -> None:
    assert level(-a) == -level(a)
    assert abs(level(a)) <= LEVELS
    if a <= b:
        assert level(a) <= level(b)


def _nodes(count: int) -> list[TimelineVersion]:
    """Make up versions: each forgets one class more, and the last goes back to the first of them."""
    forget = [
        TimelineVersion(
            k,
            VersionKind.FORGET,
            "2025-04-01",
            "10:00",
            False,
            (f"class {k}",),
            (),
            frozenset(range(1, k + 1)),
            None,
            (),
        )
        for k in range(1, count)
    ]
    back = tuple(f"class {k}" for k in range(2, count))
    last = TimelineVersion(
        count, VersionKind.ROLLBACK, "2025-05-01", "10:00", True, (), back, frozenset({1}), 1, tuple(range(2, count))
    )
    return [
        TimelineVersion(0, VersionKind.BASE, "2025-03-31", "10:00", False, (), (), frozenset(), None, ()),
        *forget,
        last,
    ]


@pytest.mark.parametrize("count", [2, 40])
def test_timeline_holds_every_version(count: int) -> None:
    nodes = _nodes(count)
    found = ET.fromstring(timeline("x", nodes, [f"class {k}" for k in range(count + 1)]))
    written = [text.text or "" for text in found.iter("text")]
    assert [text for text in written if text.startswith("version")] == [
        *(f"version {k}" for k in range(count)),
        f"version {count} · live",
    ]
    width, height = float(found.get("width", 0)), float(found.get("height", 0))
    for text in found.iter("text"):
        assert 0 <= float(text.get("x", -1)) <= width
        assert 0 <= float(text.get("y", -1)) <= height
    assert len([path for path in found.iter("path") if path.get("class") == "way"]) == 1
    lanes = [box for box in found.iter("rect") if box.get("class") == "lane"]
    assert len(lanes) == (0 if lanes_left_out(nodes) else count - 1)


# -- style -------------------------------------------------------------------------------------------


def _themes() -> list[dict[str, str]]:
    css = (files("ledger.report") / "tokens.css").read_text(encoding="utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)")
    found = [dict(re.findall(r"--([\w-]+): ([^;]+);", part)) for part in (light, dark.split("\n}\n")[0])]
    return [found[0], found[0] | found[1]]


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(theme: dict[str, str], a: str, b: str) -> float:
    values = [theme[name] if theme[name].startswith("#") else theme[theme[name][6:-1]] for name in (a, b)]
    high, low = sorted((_luminance(value) for value in values), reverse=True)
    return (high + 0.05) / (low + 0.05)


PAIRS = [
    *[(f"{sign}{step}-ink", f"{sign}{step}") for sign in "np" for step in range(1, LEVELS + 1)],
    ("z0-ink", "z0"),
    *[(ink, ground) for ink in ("ink", "soft") for ground in ("page", "panel", "notice-page", "alert-page")],
    *[("alert", ground) for ground in ("page", "notice-page", "alert-page")],
    ("ink", "lane"),
]


@pytest.mark.parametrize("theme", _themes(), ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_meets_wcag_aa(theme: dict[str, str], ink: str, ground: str) -> None:
    assert _contrast(theme, ink, ground) >= 4.5


@pytest.mark.parametrize("theme", _themes(), ids=["light", "dark"])
@pytest.mark.parametrize("mark", ["before", "after", "alert"])
def test_marks_meet_wcag_for_graphics(theme: dict[str, str], mark: str) -> None:
    assert _contrast(theme, mark, "page") >= 3
