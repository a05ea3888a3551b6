"""Where the images of forgotten classes went: what they are taken for now, beside masked original and retrained."""

from collections.abc import Iterator, Mapping

from ledger.domain.numbers import finite_number
from ledger.report.charts.stacked_bars import Bar, BarGroup, BarPart, stacked_bars
from ledger.report.charts.svg import named
from ledger.report.charts.words import count
from ledger.report.data.tables import Cell, Table

from .figure import Figure
from .network_words import NETWORK_NAMES
from .shown_version import ShownVersion

MOST_CLASSES = 12
"""Forgotten classes in the picture."""
MOST_PARTS = 6
"""Answers of a bar."""


def destination_figures(shown: ShownVersion) -> Iterator[Figure]:
    """Yield bars of answers for each forgotten class, the one still recognised most first."""
    found = _went_to(shown)
    if not found:
        return
    order = sorted(found, key=lambda k: (-found[k]["version"].get(k, 0.0), k))
    confusion = shown.confusion
    groups, rows = [], []
    for k in order:
        images = int(confusion.after.images[k]) if confusion else 0
        bars = tuple(Bar(NETWORK_NAMES[role], _parts(shown, k, shares)) for role, shares in found[k].items())
        groups.append(BarGroup(f"{named(shown.labels[k])}: {count(images, 'test image')}", bars))
        for role, shares in found[k].items():
            cells: list[tuple[Cell, ...]] = [
                (shown.labels[k], role, shown.labels[answer], share, images) for answer, share in shares.items()
            ]
            rows += cells
    title = "Where the images of forgotten classes went, % of each class"
    caption = "Answers to test images, the most frequent first; red: still recognised."
    if len(groups) > MOST_CLASSES:
        caption += f" Shown: the {MOST_CLASSES} of {len(groups)} forgotten classes that are still recognised most."
    alignment = finite_number(shown.metrics("confusion").get("row_cosine_retrained"))
    if alignment is not None:
        caption += f" Cosine between the answers of this version and of the retrained network: {alignment:.3f}."
    columns = ("class", "network", "answer", "share", "images")
    yield Figure(
        stacked_bars(f"{shown.uid}-went", title, groups[:MOST_CLASSES]),
        title,
        caption,
        wide=True,
        table=Table(shown.table_name("went-to"), columns, tuple(rows)),
    )


def _went_to(shown: ShownVersion) -> dict[int, dict[str, dict[int, float]]]:
    """Return shares of answers by forgotten class, network and answer; a class without a readable row is left out."""
    values = shown.metrics("confusion").get("went_to")
    found: dict[int, dict[str, dict[int, float]]] = {}
    for key, one in values.items() if isinstance(values, Mapping) else ():
        if not (isinstance(key, str) and key.isdecimal() and int(key) in shown.forgotten and isinstance(one, Mapping)):
            continue
        networks = {role: _answers(one[role], len(shown.labels)) for role in NETWORK_NAMES if role in one}
        if networks.get("version"):
            found[int(key)] = {role: networks[role] for role in ("version", *networks) if networks[role]}
    return found


def _answers(shares: object, classes: int) -> dict[int, float]:
    read = {
        int(answer): min(1.0, max(0.0, share))
        for answer, value in (shares.items() if isinstance(shares, Mapping) else ())
        if isinstance(answer, str) and answer.isdecimal() and int(answer) < classes
        if (share := finite_number(value)) is not None
    }
    return dict(sorted(read.items(), key=lambda pair: (-pair[1], pair[0])))


def _parts(shown: ShownVersion, k: int, shares: Mapping[int, float]) -> tuple[BarPart, ...]:
    kept = list(shares.items())[:MOST_PARTS]
    if k in shares and k not in dict(kept):
        kept.append((k, shares[k]))
    return tuple(BarPart(named(shown.labels[answer]), share, own=answer == k) for answer, share in kept)
