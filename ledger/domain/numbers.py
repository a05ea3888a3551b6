"""Numbers in JSON of unknown origin."""

import math

LARGEST_WHOLE = 2**53 - 1
"""The largest whole number that RFC 8785 permits, and the smallest with its sign changed."""


def finite_number(value: object) -> float | None:
    """Return a finite JSON number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON integers have no bounds
        return None
