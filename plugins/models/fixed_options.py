"""Options of a library's builder that are not for a person to choose."""

from collections.abc import Mapping
from typing import Any

from ledger.errors import UsageError


def refuse_others(options: Mapping[str, Any], fixed: Mapping[str, Any], num_classes: int) -> None:
    """Refuse options that contradict what is fixed; to say the same twice is not wrong.

    Args:
        options: What was asked for.
        fixed: What the builder is called with in any case.
        num_classes: Number of the data's classes.

    Raises:
        UsageError: One of the fixed options was asked for with another value.
    """
    for name, value in fixed.items():
        if options.get(name, value) != value:
            raise UsageError(
                f"--arch-option {name}={options[name]} is not possible: the number of outputs is that of the data's "
                f"classes, {num_classes:,}, and weights come from --weights",
                f"leave {name} out",
            )
