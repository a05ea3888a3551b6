"""How a version was computed: the search, the strength, the edited layers and the class spaces."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ledger.domain.class_spaces import Role, largest_error
from ledger.domain.recipe import VersionRecipe
from ledger.domain.retained_accuracy import RetainedAccuracy
from ledger.domain.settings import Settings
from ledger.domain.versions import Version
from ledger.report.charts.recipe_charts import MOST_MAPS, map_chart, search_chart, shown_maps
from ledger.report.charts.words import count, number, percent, size
from ledger.report.data.model_report import ModelReport
from ledger.report.data.tables import Table

from .figure import Figure

FACT_NAMES = {"base": "Computed from the weights", "data": "Digest of the images"}
"""Names of values in recipes, and how the page calls them."""
SHOWN_APART = ("alpha_r", "alpha_f", "effective_alpha_f", "edit")
"""Names of values in recipes that the page words by itself."""


def computation_figures(report: ModelReport, version: Version, recipe: VersionRecipe) -> Iterator[Figure]:
    """Yield charts of the search and of the change in each linear map."""
    uid = f"v{version.number}"
    if recipe.trials:
        gate = report.model.settings.max_forgotten_accuracy
        masked = recipe.mask_retained.confidence
        before = ("before", recipe.base_retained.confidence) if masked is None else ("masked original", masked)
        chart = search_chart(f"{uid}-search", recipe.trials, before=before, gate=gate)
        caption = (
            f"{count(len(recipe.trials), 'trial')} on calibration images, none of them test images. ◆ forgets enough, "
            f"○ does not; the ring marks the one chosen. Dotted: the gate, {percent(gate)}."
        )
        yield Figure(chart, "The search for solver, depth and strength, %", caption, table=_search_table(version))
    if recipe.maps:
        shown = shown_maps(recipe.maps)
        caption = "Ranks: of the retain and of the forget basis. Biases and normalisation layers are never edited."
        if len(shown) < len(recipe.maps):
            caption = f"Shown: the {MOST_MAPS} of {len(recipe.maps)} linear maps that changed most. {caption}"
        rows = tuple((item.key, item.change, item.retain_rank, item.forget_rank) for item in recipe.maps)
        table = Table(
            f"version-{version.number}-layers", ("map", "relative_change", "retain_rank", "forget_rank"), rows
        )
        yield Figure(map_chart(f"{uid}-maps", shown), "What changed, layer by layer", caption, table=table)


def _search_table(version: Version) -> Table:
    columns = ("solver", "depth", "alpha_r", "alpha_f", "edit", "forgotten", "retained_confidence", "passed", "chosen")
    rows = tuple(
        (t.solver, t.depth, t.alpha_r, t.alpha_f, t.edit, t.forgotten, t.retained, t.passed, t.chosen)
        for t in version.recipe.trials
    )
    return Table(f"version-{version.number}-search", columns, rows)


def computation_facts(report: ModelReport, recipe: VersionRecipe) -> Iterator[tuple[str, str]]:
    """Yield the single values of a recipe, each with its name."""
    others = dict(single_values(recipe.document))
    for name in SHOWN_APART:
        others.pop(name, None)
    if (solver := others.pop("solver", None)) is not None:
        yield "Solver", solver
    if "depth" in others and "layers" in others:
        yield "Layers edited", f"the last {others.pop('depth')} of {others.pop('layers')}"
    if recipe.alpha_r is not None:
        yield "αr, importance of the retain space", number(recipe.alpha_r)
    if recipe.alpha_f is not None:
        effective = recipe.effective_alpha_f
        more = f"; effective {number(effective)} for the joint forget space" if effective is not None else ""
        yield "αf, importance of the forget space", f"{number(recipe.alpha_f)}{more}"
    if recipe.edit is not None:
        yield "Size of the edit", f"{percent(recipe.edit)} of the weights' norm, root mean square over the linear maps"
    yield from _search_facts(report.model.settings, recipe)
    yield from ((FACT_NAMES.get(name, name), value) for name, value in others.items())


def _search_facts(settings: Settings, recipe: VersionRecipe) -> Iterator[tuple[str, str]]:
    """Yield what the search found on calibration images."""
    if recipe.retained.accuracy is not None:
        accuracies = (recipe.retained.accuracy, recipe.mask_retained.accuracy, recipe.base_retained.accuracy)
        gate = f"the gate allows a loss of {100 * settings.max_retained_drop:g} points"
        if recipe.mask_retained.accuracy is None:
            told = (
                f"{percent(recipe.retained.accuracy)} correct ({percent(recipe.base_retained.accuracy)} before; {gate})"
            )
        else:
            compared = RetainedAccuracy(*accuracies).comparison(percent)
            told = f"{percent(recipe.retained.accuracy)} correct ({compared}; {gate} against the masked original)"
        yield "Retained classes, calibration images", told
    worst = max((j.accuracy for j in recipe.forgotten.values() if j.accuracy is not None), default=None)
    if worst is not None:
        gate = percent(settings.max_forgotten_accuracy)
        yield "Forgotten classes, calibration images", f"at most {percent(worst)} correct (the gate allows {gate})"
    for name, told in recipe.likeness.told(recipe.base_likeness, percent).items():
        yield f"Forgotten classes, {name}", told


def single_values(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the names and texts of all values that are not lists or objects, in the order of their names."""
    kept = {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}
    return tuple((name, str(value)) for name, value in sorted(kept.items()))


def class_space_rows(report: ModelReport, version: Version) -> Iterator[tuple[str, ...]]:
    """Yield a table row for each basis: role, classes, images for each class, ranks, largest error bound, size."""
    by_id = {space.id: space for space in report.history.spaces}
    terms = report.history.bases.get(version.number, ())
    for role in (Role.RETAIN, Role.FORGET):
        found = [by_id[t.class_space_id] for t in terms if t.role is role and t.class_space_id in by_id]
        if not found:
            continue
        maps = [summary for space in found for summary in space.maps]
        ranks = sorted(summary.rank for summary in maps)
        yield (
            role.value,
            str(len(found)),
            _range([len(space.samples) for space in found]),
            f"{ranks[len(ranks) // 2]} (most {ranks[-1]})" if ranks else "–",
            _error([summary.error_bound for summary in maps]),
            size(sum(space.size for space in found)),
        )


def _error(bounds: Sequence[float]) -> str:
    largest, unknown = largest_error(bounds)
    return number(largest) if not unknown else f"{number(largest)} ({unknown} of {len(bounds)} unknown)"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"
