"""Numbers in JSON of unknown origin."""

import math


def finite_number(value: object) -> float | None:
    """Return a finite JSON number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON integers have no bounds
        return None
