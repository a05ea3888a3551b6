"""Tables of the evaluators that look further than answers: attacks on single images, features by depth, ways back.

Each shows the version beside the original and, where somebody declared one, a retrained network. Only with that can
most of these figures be judged: a network that never saw a class may hold much of it as well.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ledger.domain.numbers import finite_number

from .render import emit_table, percent, say

ROLES = ("version", "original", "retrained")
DEPTHS = ("penultimate", "two_thirds", "one_third")
WAYS_BACK = {
    "retained_tuning": "training on retained images",
    "one_shot": "one image of each class (prototypes)",
    "five_shot": "five images of each class",
    "few_steps": "a few steps on forgotten images",
}
"""What the evaluator ``relearning`` tries."""


def print_features(evaluator: str, metrics: Mapping[str, Any], images: int | None = None) -> bool:
    """Print the table of an evaluator, for a person; return False for one that has none here.

    Args:
        evaluator: Its name.
        metrics: What it found.
        images: Number of test images of the forgotten classes; None if that is not known.
    """
    columns, rows, note = _TABLES.get(evaluator, _no_table)(metrics)
    if not rows:
        if columns and (reason := metrics.get("reason")):
            say(f"{evaluator}: not measured, since {reason}")
            return True
        return False
    emit_table(columns, rows)
    rests = "" if images is None else f"; {images:,} test {'image' if images == 1 else 'images'} of forgotten classes"
    say(f"{note}{rests}")
    return True


Table = tuple[list[str], list[tuple[str, ...]], str]


def _no_table(_metrics: Mapping[str, Any]) -> Table:
    return [], [], ""


def _probes(metrics: Mapping[str, Any]) -> Table:
    kinds = (("regularised", "regularised"), ("sgd", "plain layer"))
    return (
        ["linear probe, forgotten", *(f"#{role}" for role in ROLES)],
        [
            (f"{_depth(depth)}, {told}", *_shares(metrics, kind, depth, "forgotten"))
            for kind, told in kinds
            for depth in _known_depths(_at(metrics, kind))
        ],
        "linear probe: how well a linear layer on features tells the forgotten classes; retrained is the bar, not 0",
    )


def _nearest_means(metrics: Mapping[str, Any]) -> Table:
    return (
        ["nearest class mean, forgotten", *(f"#{role}" for role in ROLES)],
        [
            (_depth(depth), *_shares(metrics, "depths", depth, "forgotten"))
            for depth in _known_depths(_at(metrics, "depths"))
        ],
        "nearest class mean: how often the mean of a forgotten class's features is nearer than all others",
    )


def _likenesses(metrics: Mapping[str, Any]) -> Table:
    return (
        ["likeness of features (CKA)", "#to the original", "#to the retrained"],
        [
            (f"{_depth(depth)}, {group}", *(_number(metrics, "depths", depth, role, group) for role in ROLES[1:]))
            for depth in _known_depths(_at(metrics, "depths"))
            for group in ("forgotten", "retained")
        ],
        "CKA: 1 for features that are alike up to a rotation, 0 for unrelated ones",
    )


def _returns(metrics: Mapping[str, Any]) -> Table:
    return (
        ["comes back by", *(f"#{role}" for role in ROLES)],
        [
            (told, *(_percent(metrics, role, name, "return") for role in ROLES))
            for name, told in WAYS_BACK.items()
            if isinstance(_at(metrics, "version", name), Mapping)
        ],
        "right answers to test images of the forgotten class that comes back most, at its highest",
    )


def _statistics(metrics: Mapping[str, Any]) -> Table:
    return (
        ["batch statistics anew", "#forgotten before", "#forgotten after"],
        [
            (role, *(_percent(metrics, role, when, "forgotten") for when in ("before", "after")))
            for role in ROLES
            if isinstance(_at(metrics, role), Mapping)
        ],
        "after BatchNorm took its statistics from retained images again: no weight was trained",
    )


def _single_images(metrics: Mapping[str, Any]) -> Table:
    return (
        ["membership of single images (RMIA)", "#AUC", "95 %", "#TPR at 1 % FPR"],
        [
            (
                role,
                _number(metrics, role, "auc"),
                f"{_number(metrics, role, 'auc_low')} to {_number(metrics, role, 'auc_high')}",
                _percent(metrics, role, "tpr_at_1_percent"),
            )
            for role in ROLES
            if isinstance(_at(metrics, role), Mapping)
        ],
        "training images of the forgotten classes told from unseen ones: an AUC of 0.5 is guessing (arXiv 2312.03262)",
    )


_TABLES = {
    "probe": _probes,
    "nearest_mean": _nearest_means,
    "similarity": _likenesses,
    "relearning": _returns,
    "statistics": _statistics,
    "rmia": _single_images,
}


def _at(value: Any, *path: str) -> Any:
    """Return what stands at a path of names; None if nothing does. Plugins may offer anything under a name."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _known_depths(found: Any) -> Iterator[str]:
    return (depth for depth in DEPTHS if isinstance(_at(found, depth), Mapping))


def _shares(metrics: Mapping[str, Any], *path: str) -> list[str]:
    """Return a share of each network; the last name of the path stands below the network's role."""
    *above, last = path
    return [_percent(metrics, *above, role, last) for role in ROLES]


def _percent(metrics: Mapping[str, Any], *path: str) -> str:
    return percent(finite_number(_at(metrics, *path)))


def _number(metrics: Mapping[str, Any], *path: str) -> str:
    number = finite_number(_at(metrics, *path))
    return "-" if number is None else f"{number:.3f}"


def _depth(name: str) -> str:
    return name.replace("_", " ")
