"""Separability by depth and strength: how well forgotten images can be told from their look-alikes, and what it costs.

    python benchmarks/separability.py path/to/cifar10-images.zip path/to/models [--work DIR] [--json FILE]

Solver ``redirect`` forgets ``cat`` in the last 1, 2, ... layers of the CIFAR-10 network, at each of its strengths.
Every candidate is measured as the ledger's search measures it, on calibration images, and so are the registered weights
and those of a network that never saw the class (``cifar10_vgg11_bn_without_cat.safetensors``, in the same folder). The
figures are those of ``docs/pictures/separability.json``.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cifar import Cifar, arguments, unpack
from digit_pairs import say
from tables import markdown
from torch import Tensor

from ledger.algebra.strength import Strength
from ledger.answers.calibration import Calibration
from ledger.answers.calibration_sampling import sample_calibration
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.candidates.evaluation import CandidateEvaluator
from ledger.candidates.graded_search import grids
from ledger.candidates.likeness import Likeness, Resemblance, measure_likeness
from ledger.candidates.predictor import CandidatePredictor
from ledger.domain.class_spaces import Role
from ledger.domain.settings import Settings
from ledger.networks.opening import build_network
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.workbench import Workbench
from ledger.service.progress import Silent
from ledger.spaces.bases import Basis
from ledger.spaces.displacements import Displacements
from ledger.weights import tensor_files

SOLVER, FORGOTTEN = "redirect", "cat"
NEVER_SAW = "cifar10_vgg11_bn_without_cat.safetensors"
HEADER = ("weights", "layers", "alphas", "separability", "divergence", "lost confidence, points")


@dataclass(frozen=True)
class Row:
    """Some weights on calibration images."""

    weights: str
    depth: int
    """Layers edited, counted from the output; 0 if none."""
    alphas: tuple[float, float] | None
    separability: float | None
    divergence: float
    lost: float | None
    """Confidence on retained images that was lost against the masked original; None if nothing was edited."""
    keeps: bool | None
    """Whether the retained bar is kept, with the standard error of the loss; None likewise."""


def rows(bench: Workbench, never_saw: Mapping[str, Tensor]) -> Iterator[Row]:
    """Measure registered weights, a network that never saw the class, and an edit for every depth and strength.

    Args:
        bench: The registered network.
        never_saw: Weights of the other.
    """
    forgotten = bench.model.labels.resolve(FORGOTTEN)
    keys = [group.key for layer in bench.network.layers for group in layer.map_groups]
    retain, forget = (Basis(role, keys, bench.device) for role in (Role.RETAIN, Role.FORGET))
    for one in ClassSpaceCache(bench).collect_and_store(frozenset({forgotten}), Silent()):
        (forget if one.record.class_index == forgotten else retain).add(one.record.class_index, one.statistics)
    displacements = Displacements(retain, forget)
    resemblance = Resemblance(displacements.retained, displacements.mixtures)
    settings = bench.model.settings
    solvers = bench.ledger.plugins.solvers((SOLVER,))
    builder = CandidateBuilder(
        bench.anchor_state,
        [layer.maps for layer in bench.network.layers],
        retain=retain.spaces,
        forget=forget.spaces,
        solvers=solvers,
        forgotten=[forgotten],
        classes=len(bench.model.labels),
        displacement=displacements.of,
    )
    calibration = sample_calibration(
        bench.source.train,
        bench.samples,
        forgotten=[forgotten],
        retained=list(displacements.retained),
        preprocessing=bench.model.preprocessing,
        batch_size=settings.batch_size,
    )
    depths = range(1, len(bench.network.layers) + 1)
    predictor = CandidatePredictor(bench.network, calibration, depths, {forgotten})
    evaluator = CandidateEvaluator(predictor, len(bench.model.labels), [forgotten], settings, compared=(SOLVER,))
    levels = evaluator.anchor_likeness(resemblance), _likeness_of(bench, never_saw, calibration, resemblance)
    for weights, level in zip(("registered", "never saw it"), levels, strict=True):
        yield Row(weights, 0, None, level.separability, level.divergence, None, None)
    for depth in depths:
        for alphas in grids(solvers, settings)[SOLVER]:
            candidate = builder.build(Recipe(SOLVER, depth, Strength(*alphas)))
            lost = evaluator.masked_retained.confidence - evaluator.scores(candidate)[1].confidence
            finding = evaluator.retention(candidate)
            keeps = finding.loss + finding.error <= settings.retained_bar
            likeness = evaluator.likeness(candidate, resemblance)
            yield Row(SOLVER, depth, alphas, likeness.separability, likeness.divergence, lost, keeps)


def _likeness_of(
    bench: Workbench, weights: Mapping[str, Tensor], calibration: Calibration, resemblance: Resemblance
) -> Likeness:
    """Measure a network of the same architecture by its own answers."""
    network = build_network(bench.ledger.plugins, bench.model.architecture, len(bench.model.labels))
    network.module.load_state_dict(dict(weights))
    predictor = CandidatePredictor(network, calibration, (1,), ())
    forgotten, retained = (
        FeaturedAnswers.joined([predictor.anchor_answers(batch) for batch in batches])
        for batches in (calibration.forgotten, calibration.retained)
    )
    return measure_likeness(forgotten, retained, resemblance)


def table(found: list[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [
        (
            row.weights,
            str(row.depth or ""),
            "" if row.alphas is None else f"({row.alphas[0]:g}, {row.alphas[1]:g})",
            "" if row.separability is None else f"{row.separability:.3f}",
            f"{row.divergence:.3f}",
            "" if row.lost is None else f"{100 * row.lost:+.2f}",
        )
        for row in found
    ]
    return markdown(HEADER, lines)


def main() -> None:
    """Measure everything and print it."""
    parser = arguments(__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = unpack(options.images, options.work or Path(scratch))
        registered = Cifar(Path(scratch) / "ledger", data, options.models, Settings())
        weights = options.models / NEVER_SAW
        never_saw = tensor_files.parse(weights.read_bytes(), str(weights))
        found = []
        for row in rows(registered.bench, never_saw):
            found.append(row)
            say(table([row]).splitlines()[-1])
        registered.close()
    print(table(found))
    if options.json:
        facts = [asdict(row) for row in found]
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
