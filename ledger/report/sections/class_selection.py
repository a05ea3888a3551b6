"""Which classes a chart shows: all if they are few, otherwise those that changed most."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ledger.report.charts.words import SPACE, count, points
from ledger.report.data.metrics import ClassAccuracies

SHOW_ALL = 20
"""With so many classes or fewer, all are shown."""
MOST_CHANGED = 15
"""Retained classes shown when there are more."""
MOST_FORGOTTEN = 25
"""Forgotten classes shown when there are more."""
NOTABLE = 0.05
"""Smallest change of an accuracy that the summary counts, as a difference of shares."""


@dataclass(frozen=True)
class ClassSelection:
    """The classes that a chart shows, in order."""

    forgotten: tuple[int, ...]
    retained: tuple[int, ...]
    note: str
    """Says what was left out; empty if all classes are shown."""

    @property
    def all(self) -> tuple[int, ...]:
        """Forgotten classes, then retained ones."""
        return self.forgotten + self.retained


def select_classes(
    accuracies: ClassAccuracies, forgotten: frozenset[int], *, most_forgotten: int = MOST_FORGOTTEN
) -> ClassSelection:
    """Choose the classes to show: forgotten ones first, then retained ones by loss.

    Args:
        accuracies: Of all classes; their changes decide.
        forgotten: The forgotten classes.
        most_forgotten: Largest number of forgotten classes; those still recognised most are shown.
    """
    classes = range(len(accuracies.after))
    inside, outside = sorted(forgotten), [k for k in classes if k not in forgotten]
    notes: list[str] = []
    if len(inside) > most_forgotten:
        ranked = sorted(inside, key=lambda k: (-(accuracies.after[k] or 0.0), k))
        notes.append(f"the {most_forgotten} of {len(inside)} forgotten classes that are still recognised most")
        inside = ranked[:most_forgotten]
    if len(classes) > SHOW_ALL and len(outside) > MOST_CHANGED:
        notes.append(f"the {MOST_CHANGED} of {len(outside)} retained classes that changed most")
        outside = sorted(outside, key=lambda k: (-abs(accuracies.change(k) or 0.0), k))[:MOST_CHANGED]
    # Classes that were not measured have no loss and come last.
    outside.sort(key=lambda k: (1.0 if (change := accuracies.change(k)) is None else change, k))
    note = f"Shown: {' and '.join(notes)}." if notes else ""
    return ClassSelection(tuple(inside), tuple(outside), note)


def retained_summary(accuracies: ClassAccuracies, retained: Sequence[int]) -> str:
    """Return a sentence on how the accuracies of many retained classes changed."""
    changes = [change for k in retained if (change := accuracies.change(k)) is not None]
    if not changes:
        return ""
    losing = sum(change < -NOTABLE for change in changes)
    gaining = sum(change > NOTABLE for change in changes)
    several = f"{count(len(changes), 'retained class', 'retained classes')}"
    return (
        f"Of {several}, {losing} lose and {gaining} gain more than {100 * NOTABLE:g}{SPACE}points; "
        f"the median changes by {points(median(changes))}."
    )
