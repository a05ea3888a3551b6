"""What a search needs of all classes, gathered from their class spaces."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ledger.domain.class_spaces import Role
from ledger.domain.settings import Settings
from ledger.networks.network import Network
from ledger.spaces.bases import Basis
from ledger.spaces.retained import MapShape, RetainBasis, RetainedClasses
from ledger.spaces.statistics import ClassStatistics


@dataclass(frozen=True)
class GatheredClasses:
    """What retained and forgotten classes amount to at every map that may be edited."""

    retain: RetainedClasses
    forget: Basis


def edited_shapes(network: Network, known_classes: int, settings: Settings) -> list[MapShape]:
    """Return how the retained classes are kept at every map that a search may edit.

    Args:
        network: Whose maps.
        known_classes: Number of classes that the weights know which edits start from.
        settings: Say how many layers may be edited, and the largest rank.
    """
    edited = network.layers[-max(settings.depths) :] if settings.depths else network.layers
    # Layers may share a map.
    groups = {group.key: group for layer in edited for group in layer.map_groups}
    return [MapShape.of(group, known_classes, settings.max_rank) for group in groups.values()]


def empty_forget_basis(shapes: Iterable[MapShape], device: torch.device) -> Basis:
    """Return a basis that forgotten classes can be added to, at the same maps."""
    return Basis(Role.FORGET, [shape.key for shape in shapes], device)


def gather_classes(
    collected: Iterable[tuple[int, ClassStatistics]],
    forgotten: frozenset[int],
    shapes: Iterable[MapShape],
    device: torch.device,
) -> GatheredClasses:
    """Gather all classes that count, in any order of the retained ones.

    Args:
        collected: Class index and statistics; of the forgotten ones in class order, since their basis depends on it.
        forgotten: The classes to forget.
        shapes: The maps to gather.
        device: Where sums are returned.
    """
    shapes = list(shapes)
    retain, forget = RetainBasis(shapes, device), empty_forget_basis(shapes, device)
    for class_index, statistics in collected:
        (forget if class_index in forgotten else retain).add(class_index, statistics)
    return GatheredClasses(retain, forget)
