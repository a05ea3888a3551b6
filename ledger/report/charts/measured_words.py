"""Wording of measured shares: never without how many images they rest on, where that is known."""

from ledger.domain.intervals import Interval
from ledger.report.data.measured import Measured

from .words import SPACE, count, percent


def measured_percent(value: Measured | None) -> str:
    """Return a share in percent with its interval and the number of images."""
    if value is None or value.share is None:
        return "not measured"
    told = [span(value.interval)] if value.interval else []
    told += [count(value.images, "image")] if value.images is not None else []
    return f"{percent(value.share)} ({', '.join(told)})" if told else percent(value.share)


def span(interval: Interval) -> str:
    """Return an interval of shares in percent, e.g. ``95.1–99.0 %``."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}{SPACE}%"


def area(value: float | None, interval: Interval | None = None) -> str:
    """Return an area under a curve, between 0 and 1, with its interval."""
    if value is None:
        return "not measured"
    return f"{value:.3f}" + (f" ({interval.low:.3f}–{interval.high:.3f})" if interval else "")
