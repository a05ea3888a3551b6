"""Fill in what a published network says of itself: its architecture, weights, labels and preprocessing."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.domain.models import Architecture
from ledger.errors import UsageError, WeightsError
from ledger.plugin_manager import Plugins

from .label_files import read_labels
from .preprocessing_files import described, read_preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .registration import Registration


def completed(plugins: Plugins, registration: "Registration", tell: "Callable[[str], None]") -> "Registration":
    """Return a registration with what the folder or repository that it names says of its network.

    What a person says goes before what is found. A registration that names an architecture is returned as it is.

    Args:
        plugins: They read descriptions.
        registration: What a person says.
        tell: Told what was found.

    Raises:
        NotFoundError: There is no such folder or repository.
        UsageError: It describes no network, or nothing names the weights.
        WeightsError: It holds no weights that can be read without running code.
    """
    given = registration.architecture
    found = plugins.published_model(given.spec)
    if found is None:
        if registration.weights is None:
            raise UsageError(
                f"--weights is missing: {given.spec} says how to build a network, not what it learned",
                "add --weights FILE, or name a folder that holds both: --arch local-dir:FOLDER",
            )
        return registration
    weights = registration.weights or found.weights
    if weights is None:
        raise WeightsError(found.without_weights, found.way_on)
    said = read_preprocessing(found.description, required=False).values
    tell(f"{found.origin} is {found.architecture}, with weights in {weights}")
    if said:
        tell(f"preprocessing: {described(said)} read from {found.description}")
    labels = registration.labels
    if labels is None and registration.label_order is None:
        labels = _labels(found.description)
        if labels is not None:
            tell(f"labels: {len(labels):,} read from {found.description}")
    return replace(
        registration,
        architecture=Architecture(found.architecture, dict(found.options) | given.options),
        weights=weights,
        labels=labels,
        preprocessing=dict(said) | registration.preprocessing,
    )


def _labels(description: Path) -> tuple[str, ...] | None:
    """Return the labels in a description; None if it has none."""
    try:
        return read_labels(description)
    except UsageError:
        return None
