"""Charts of a recipe: the trials of the search, and the change of each linear map."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from ledger.domain.recipe import RecordedMapChange, RecordedTrial
from ledger.domain.recorded_likeness import RecordedLikeness

from .svg import box, circle, diamond, group, label, line, picture, shorten_middle
from .words import count, number, percent

WIDTH = 360.0
LEFT, RIGHT = 40.0, 346.0
Scale = Callable[[float], float]


def search_chart(uid: str, trials: Sequence[RecordedTrial], *, before: tuple[str, float | None], gate: float) -> Markup:
    """Draw the trials, ordered by the size of their edits.

    Args:
        uid: Unique on the page.
        trials: The trials of the search.
        before: What trials are compared with, and its mean confidence on the retained classes, as a share; drawn as a
            line.
        gate: Highest accuracy allowed on a forgotten class, as a share.
    """
    name, base = before
    most = max((trial.edit or 0.0 for trial in trials), default=0.0) or 1.0

    def x(edit: float) -> float:
        return LEFT + 10 + (RIGHT - LEFT - 20) * edit / most

    judged = [trial for trial in trials if trial.retained is not None]
    parts: list[Markup] = []
    top = 0.0
    if judged:
        shares = [trial.retained or 0.0 for trial in judged] + ([] if base is None else [base])
        low, high = _round_range(shares)
        y = _scale(low, high, 112, 28)
        parts.append(label(0, 12, "retained classes: confidence in the right answer", "group-title"))
        parts += _axis(y, (low, high))
        if base is not None:
            parts.append(line(LEFT, y(base), RIGHT, y(base), "mean-before"))
            parts.append(label(RIGHT, y(base) - 4, name, "tick", text_anchor="end"))
        parts += [_trial(trial, x(trial.edit or 0.0), y(trial.retained or 0.0)) for trial in judged]
        top = 128.0
    low, high = 0.0, max(0.05, *(trial.forgotten for trial in trials)) if trials else 1.0
    high = 1.0 if high > 0.5 else 0.5 if high > 0.1 else 0.1
    y = _scale(low, high, top + 112, top + 28)
    parts.append(label(0, top + 12, "forgotten class still recognised best", "group-title"))
    parts += _axis(y, (low, high))
    parts.append(line(LEFT, y(gate), RIGHT, y(gate), "gate"))
    parts += [_trial(trial, x(trial.edit or 0.0), y(trial.forgotten)) for trial in trials]
    foot = top + 130
    parts.append(label(x(0), foot, "0", "tick", text_anchor="middle"))
    parts.append(label(x(most), foot, f"{100 * most:.3g} %", "tick", text_anchor="middle"))
    parts.append(label((LEFT + RIGHT) / 2, foot, "size of the edit →", "tick", text_anchor="middle"))
    return picture(uid, WIDTH, foot + 6, "Search for the strength", _description(trials), *parts)


def _round_range(shares: Sequence[float]) -> tuple[float, float]:
    low = max(0.0, int(min(shares) * 20 - 0.2) / 20)
    return (low if low < 0.95 else 0.9), 1.0


def _scale(low: float, high: float, bottom: float, top: float) -> Scale:
    return lambda share: bottom - (bottom - top) * (min(max(share, low), high) - low) / (high - low)


def _axis(y: Scale, ends: tuple[float, float]) -> list[Markup]:
    parts: list[Markup] = []
    for share in (ends[0], sum(ends) / 2, ends[1]):
        parts.append(line(LEFT, y(share), RIGHT, y(share), "grid"))
        parts.append(label(LEFT - 6, y(share) + 4, f"{100 * share:.3g}", "tick", text_anchor="end"))
    return parts


def _trial(trial: RecordedTrial, x: float, y: float) -> Markup:
    parts = [diamond(x, y, 4.6, "mark-after") if trial.passed else circle(x, y, 3.6, "mark-missed")]
    if trial.chosen:
        parts.append(circle(x, y, 9, "ring"))
    return group(*parts, hint=trial_text(trial))


def trial_text(trial: RecordedTrial) -> str:
    """Return a trial in words."""
    text = f"{trial.solver}, " if trial.solver else ""
    text += f"last {count(trial.depth, 'layer')}, " if trial.depth is not None else ""
    text += f"αr {number(trial.alpha_r)}, αf {number(trial.alpha_f)}: edit {percent(trial.edit)}, "
    text += f"forgotten {percent(trial.forgotten)}"
    if trial.retained is not None:
        text += f", retained confidence {percent(trial.retained)}"
    alike = RecordedLikeness(trial.separability, trial.divergence).told(RecordedLikeness(), percent)
    text += "".join(f", {name} {figure}" for name, figure in alike.items())
    return text + (", chosen" if trial.chosen else "" if trial.passed else ", forgets too little")


def _description(trials: Sequence[RecordedTrial]) -> str:
    passed = sum(trial.passed for trial in trials)
    chosen = "; ".join(trial_text(trial) for trial in trials if trial.chosen)
    return f"{count(len(trials), 'trial')}, {passed} forget enough. " + (f"Chosen: {chosen}." if chosen else "")


MOST_MAPS = 40
"""Largest number of linear maps in a chart."""


def shown_maps(maps: Sequence[RecordedMapChange]) -> tuple[RecordedMapChange, ...]:
    """Return the linear maps to draw, in the network's order: all of a few, otherwise those that changed most."""
    if len(maps) <= MOST_MAPS:
        return tuple(maps)
    most = sorted(range(len(maps)), key=lambda i: (-maps[i].change, i))[:MOST_MAPS]
    return tuple(maps[i] for i in sorted(most))


def map_chart(uid: str, maps: Sequence[RecordedMapChange]) -> Markup:
    """Draw the relative change of each linear map, with the ranks of its retain and forget bases."""
    most = max((item.change for item in maps), default=0.0) or 1.0
    start, end, row = 134.0, 250.0, 18.0
    parts = [
        label(0, 12, "layer", "tick"),
        label(start, 12, "change in % of its norm", "tick"),
        label(WIDTH, 12, "ranks", "tick", text_anchor="end"),
    ]
    for i, item in enumerate(maps):
        y = 22 + row * i
        reach = start + (end - start) * item.change / most
        retain, forget = _rank(item.retain_rank), _rank(item.forget_rank)
        hint = f"{item.key}: {percent(item.change)}, retain rank {retain}, forget rank {forget}"
        parts.append(
            group(
                box(0, y, WIDTH, row, "row-hit"),
                label(0, y + 12, shorten_middle(item.key.removesuffix(".weight"), start - 8, 11), "small row-name"),
                box(start, y + 3, max(0.8, reach - start), row - 7, "change-bar"),
                label(reach + 5, y + 12, f"{100 * item.change:.1f}", "small number"),
                label(WIDTH, y + 12, f"{retain} / {forget}", "small number", text_anchor="end"),
                hint=hint,
            )
        )
    told_maps = "; ".join(f"{item.key} {percent(item.change)}" for item in maps[:MOST_MAPS])
    return picture(uid, WIDTH, 26 + row * len(maps), "Change of each linear map", told_maps, *parts)


def _rank(value: int | None) -> str:
    return "–" if value is None else str(value)
