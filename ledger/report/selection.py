"""Which classes a chart shows: all of a few, or of many those that say most."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ledger.report.charts.words import SPACE, count, points

from .measured import Answers

ALL = 20
"""Up to so many classes, every one is shown."""
MOST_CHANGED = 15
MOST_FORGOTTEN = 25
NOTABLE = 0.05
"""A loss that the summary counts."""


@dataclass(frozen=True)
class Selection:
    """Classes in the order they are shown."""

    forgotten: tuple[int, ...]
    retained: tuple[int, ...]
    note: str
    """What was left out, in words; empty if nothing."""

    @property
    def all(self) -> tuple[int, ...]:
        """Forgotten classes, then retained ones."""
        return self.forgotten + self.retained


def select(answers: Answers, forgotten: frozenset[int], *, most_forgotten: int = MOST_FORGOTTEN) -> Selection:
    """Choose classes: forgotten ones first, then retained ones by loss.

    Args:
        answers: Decides what changed most.
        forgotten: The forgotten classes.
        most_forgotten: Show at most so many of them, those still recognised most.
    """
    classes = range(len(answers.after))
    inside, outside = sorted(forgotten), [k for k in classes if k not in forgotten]
    notes: list[str] = []
    if len(inside) > most_forgotten:
        ranked = sorted(inside, key=lambda k: (-(answers.after[k] or 0.0), k))
        notes.append(f"the {most_forgotten} of {len(inside)} forgotten classes that are still recognised most")
        inside = ranked[:most_forgotten]
    if len(classes) > ALL and len(outside) > MOST_CHANGED:
        notes.append(f"the {MOST_CHANGED} of {len(outside)} retained classes that changed most")
        outside = sorted(outside, key=lambda k: (-abs(answers.change(k) or 0.0), k))[:MOST_CHANGED]
    # A class that was not measured has no loss: it comes last.
    outside.sort(key=lambda k: (1.0 if (change := answers.change(k)) is None else change, k))
    note = f"Shown: {' and '.join(notes)}." if notes else ""
    return Selection(tuple(inside), tuple(outside), note)


def retained_summary(answers: Answers, retained: Sequence[int]) -> str:
    """Say how the changes of many retained classes are spread."""
    changes = [change for k in retained if (change := answers.change(k)) is not None]
    if not changes:
        return ""
    losing = sum(change < -NOTABLE for change in changes)
    gaining = sum(change > NOTABLE for change in changes)
    several = f"{count(len(changes), 'retained class', 'retained classes')}"
    return (
        f"Of {several}, {losing} lose and {gaining} gain more than {100 * NOTABLE:g}{SPACE}points; "
        f"the median changes by {points(median(changes))}."
    )
