"""Whether mean and standard deviation belong to pixels between 0 and 1, as everything here reads images."""

from ledger.domain.settings import Preprocessing
from ledger.errors import UsageError

LARGEST_MEAN = 1.0
"""Pixels are between 0 and 1, and so is their mean; one below zero shifts them, which some networks want."""
LARGEST_STD = 2.0
"""The standard deviation of such pixels is at most 0.5; 1 leaves them as they are, and 2 keeps them below 1."""
FULL_SCALE = 255.0


def require_scale(preprocessing: Preprocessing) -> None:
    """Check that images are not normalised as if their pixels went up to 255.

    Raises:
        UsageError: They are; the hint has the values to use instead.
    """
    mean, std = preprocessing.mean, preprocessing.std
    if max(map(abs, mean)) <= LARGEST_MEAN and max(std) <= LARGEST_STD:
        return
    # Where the mean is on the larger scale, so is a standard deviation of 1: those networks take pixels up to 255.
    scaled_mean = _scaled(mean) if max(map(abs, mean)) > LARGEST_MEAN else mean
    said = f"--mean {_listed(mean)} --std {_listed(std)}"
    meant = f"--mean {_listed(scaled_mean)} --std {_listed(_scaled(std))}"
    raise UsageError(
        f"mean and standard deviation are for pixels from 0 to 255 ({said}), and images are read as 0 to 1",
        f"divide by 255: {meant}",
    )


def _scaled(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(f"{value / FULL_SCALE:.6g}") for value in values)


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.6g}" for value in values)
