"""What people call the parts of a data set."""

from collections.abc import Collection

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "val", "validation", "valid", "testing", "dev", "eval")


def choose(names: Collection[str]) -> tuple[str | None, str | None, list[str]]:
    """Return which of some names are the training and the test part, and which are of no use.

    Case does not matter. Of several that could be the test part, the one that is called test is taken.
    """
    lower = {name.lower(): name for name in sorted(names, reverse=True)}
    train = next((lower[name] for name in TRAIN_NAMES if name in lower), None)
    test = next((lower[name] for name in TEST_NAMES if name in lower), None)
    return train, test, sorted(set(names) - {train, test})
