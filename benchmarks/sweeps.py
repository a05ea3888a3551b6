"""Where statistics come from: the registered weights, weights edited so far map by map, or the last request's weights.

    python benchmarks/sweeps.py path/to/cifar10-images.zip path/to/models [--work DIR] [--json FILE]

An edit of a map takes from class spaces what flows into it. Three ways to collect them, with few samples in all three:

- *registered*: every map's on the registered weights, as the ledger does. The weights are a function of the set.
- *sweep*: from input to output, each map's on the network whose earlier maps are edited already. A function of the set
  too, but one collection for every layer and strength, and no class space can be stored for later requests.
- *chain*: every map's on the weights that the request before left; these are what is edited, with the new class as the
  forget space. The weights depend on the order of requests.

Classes alone and a sequence of three, at one fixed pair of alphas; then the sequence again with the pair chosen from a
small grid on calibration images, by one rule for all; and the sequence in the opposite order, whose final weights are
compared. Test images are only measured on.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from math import sqrt
from pathlib import Path

import torch
from accuracy import class_accuracies
from cifar import Cifar, arguments, unpack, worst_and_drop
from digit_pairs import say
from tables import bracketed, markdown
from torch import Tensor

from ledger.algebra.strength import Strength
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.digest import sha256_hex
from ledger.domain.settings import Settings
from ledger.hookspecs import Split
from ledger.images.loading import load_images
from ledger.images.sampling import evaluation_samples
from ledger.networks.inference import logits
from ledger.networks.layer_claims import EditableLayer
from ledger.networks.network import Network
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler
from ledger.spaces.statistics import MapSpaces
from ledger.weights import tensor_files

SOLVER = "projection"
SEQUENCE = (3, 5, 0)
"""Classes: cat, dog, airplane."""
ALONE = (3, 5, 0, 8)
"""The same, and ship."""
SETTINGS = Settings(retain_samples=20, forget_samples=100)
FIXED = (100.0, 3.0)
GRID = tuple(product((100.0, 1000.0), (3.0, 30.0)))
ALLOWED = 0.01
"""Calibration accuracy that a forgotten class may keep."""
RETAINED_EACH = 30
"""Calibration images of every retained class; of every forgotten one, all that are set aside."""
BATCH = 250
ORDERS = ("statistics", "digests of two orders", "difference, of the weights", "of the edit")
COLUMNS = ("alphas", "forgotten", "statistics", "worst forgotten %", "retained drop", "seconds", "taken")

State = dict[str, Tensor]
Alphas = tuple[float, float]
Choice = Callable[[Sequence[int], int, State, Sequence[Alphas]], list[State]]
"""From the classes forgotten before, the one to forget now, the weights left and some alphas, to a state for each."""


@dataclass(frozen=True)
class Row:
    """One request, measured on test images."""

    alphas: str
    """Whether they were fixed or searched."""
    forgotten: tuple[int, ...]
    statistics: str
    worst: float
    """Largest accuracy of a forgotten class, in per cent."""
    drop: float
    """Mean accuracy that the others lost against the registered weights, in points."""
    seconds: float
    """From the weights before to the new ones, collection and search included."""
    taken: Alphas


@dataclass(frozen=True)
class Difference:
    """The final weights of one set, forgotten in two orders."""

    statistics: str
    equal: bool
    """Whether their digests are."""
    of_weights: float
    """Frobenius norm of the difference, over that of the registered weights of all edited maps."""
    of_edit: float
    """The same over the norm of the first order's edit."""


@dataclass
class Comparison:
    """A registered network, edited with statistics from three places.

    Args:
        bench: Lays the model out; its settings say how many samples.
        each: Test images of every class.
    """

    bench: Workbench
    each: int | None = None

    @cached_property
    def network(self) -> Network:
        """A network of our own, whose weights may be changed."""
        return open_workbench(self.bench.ledger, self.bench.model.name).network

    @property
    def choices(self) -> dict[str, Choice]:
        """Where statistics may come from, by name."""
        return {"registered": self.registered, "sweep": self.sweep, "chain": self.chain}

    # -- the three choices ------------------------------------------------------------------------

    def registered(self, before: Sequence[int], new: int, _left: State, pairs: Sequence[Alphas]) -> list[State]:
        """Edit the registered weights for the whole set, from their own statistics."""
        return self._edits(self.bench.anchor_state, self.network.layers, [*before, new], [], pairs)

    def sweep(self, before: Sequence[int], new: int, _left: State, pairs: Sequence[Alphas]) -> list[State]:
        """Edit the registered weights for the whole set, layer by layer, each from what the earlier edits left."""
        states = []
        for pair in pairs:
            state = self.bench.anchor_state
            for layer in self.network.layers:
                [state] = self._edits(state, [layer], [*before, new], [], [pair])
            states.append(state)
        return states

    def chain(self, before: Sequence[int], new: int, left: State, pairs: Sequence[Alphas]) -> list[State]:
        """Edit the weights that were left for the new class, from their own statistics."""
        return self._edits(left, self.network.layers, [new], before, pairs)

    def _edits(
        self,
        state: State,
        layers: Sequence[EditableLayer],
        forget: Sequence[int],
        leave_out: Sequence[int],
        pairs: Sequence[Alphas],
    ) -> list[State]:
        """Edit some layers with statistics from the very weights that are edited; one state for each pair of alphas.

        Args:
            state: The weights.
            layers: In the order in which images pass through them.
            forget: Classes of the forget space.
            leave_out: Classes that are in neither space: forgotten before.
            pairs: ``(alpha_r, alpha_f)``.
        """
        classes = range(len(self.bench.model.labels))
        self.network.load(state, "the weights to edit")
        spaces = {k: self._collect(layers, k, forgotten=k in forget) for k in classes if k not in leave_out}
        inside = [spaces[k] for k in sorted(forget)]
        outside = [space for k, space in spaces.items() if k not in forget]
        builder = CandidateBuilder(
            state,
            [layer.maps for layer in layers],
            retain=lambda key: [s[key] for s in outside],
            forget=lambda key: [s[key] for s in inside],
            solvers=self.bench.ledger.plugins.solvers([SOLVER]),
        )
        strengths = (Strength(*pair, classes=len(forget)) for pair in pairs)
        return [builder.build(Recipe(SOLVER, len(layers), strength)).state for strength in strengths]

    def _collect(self, layers: Sequence[EditableLayer], class_index: int, *, forgotten: bool) -> MapSpaces:
        settings, samples = self.bench.model.settings, self.bench.samples(class_index)
        wanted = samples.forget if forgotten else samples.retain
        # Statistics of other layers are not wanted: the same network, with fewer layers to look at.
        part = replace(self.network, layers=tuple(layers))
        return collect_spaces(
            part,
            self.bench.batches(self.bench.source.train, wanted),
            PositionSampler(settings.seed, class_index, settings.positions(len(wanted))),
            max_rank=settings.max_rank,
            tolerance=settings.space_tolerance,
        ).spaces

    # -- what is done with them -------------------------------------------------------------------

    def follow(self, name: str, order: Sequence[int], pairs: Sequence[Alphas]) -> tuple[list[Row], State]:
        """Forget classes one request after another; return a row for each, and the final weights."""
        rows, state = [], self.bench.anchor_state
        for done, new in enumerate(order):
            began = time.perf_counter()
            states = self.choices[name](order[:done], new, state, pairs)
            chosen = self.choose(states, order[: done + 1]) if len(pairs) > 1 else 0
            state, seconds = states[chosen], time.perf_counter() - began
            figures = worst_and_drop(self.before, self.accuracies(state), order[: done + 1])
            how = "searched" if len(pairs) > 1 else "fixed"
            rows.append(Row(how, tuple(order[: done + 1]), name, *figures, seconds, pairs[chosen]))
            say(str(rows[-1]))
        return rows, state

    def choose(self, states: Sequence[State], forgotten: Sequence[int]) -> int:
        """Return which weights forget and keep most confidence on retained calibration images, else forget most."""
        classes = range(len(self.bench.model.labels))
        images = {k: self.bench.samples(k).calibration[: None if k in forgotten else RETAINED_EACH] for k in classes}
        split = self.bench.source.train
        batches = list(self.bench.batches(split, [i for indices in images.values() for i in indices]))
        labels = torch.tensor([k for k, indices in images.items() for _ in indices])
        outside = ~torch.isin(labels, torch.tensor(list(forgotten)))
        grades = []
        for state in states:
            probabilities = logits(self.bench.network, state, batches).double().softmax(1)
            correct = (probabilities.argmax(1) == labels).double()
            worst = max(float(correct[labels == k].mean()) for k in forgotten)
            confidence = float(probabilities.gather(1, labels[:, None])[:, 0][outside].mean())
            grades.append((-max(worst, ALLOWED), confidence))
        return max(range(len(states)), key=lambda n: grades[n])

    def compare_orders(self, name: str, order: Sequence[int], first: State, pair: Alphas) -> Difference:
        """Forget classes in the opposite order too, and compare the final weights with the first order's."""
        base = self.bench.anchor_state
        _, second = self.follow(name, order[::-1], [pair])
        apart, edit, whole = (
            norm(a[key] - b[key] if b else a[key] for key in self.parameters)
            for a, b in ((first, second), (first, base), (base, None))
        )
        equal = sha256_hex(tensor_files.serialise(first)) == sha256_hex(tensor_files.serialise(second))
        return Difference(name, equal, apart / whole, apart / edit)

    @property
    def parameters(self) -> list[str]:
        """Names of the weights that are edited."""
        return sorted({m.parameter for m in self.network.maps})

    @cached_property
    def test(self) -> tuple[list[Tensor], Tensor]:
        """Preprocessed test images in batches, and their labels (n,)."""
        split: Split = self.bench.source.test
        chosen = evaluation_samples(split.labels, self.each, seed=0)
        images = load_images(split, chosen, self.bench.model.preprocessing)
        return list(torch.split(images, BATCH)), torch.tensor(split.labels)[chosen]

    @cached_property
    def before(self) -> Tensor:
        """Test accuracy of every class under the registered weights, float64 (classes,)."""
        return self.accuracies(self.bench.anchor_state)

    def accuracies(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the test accuracy of every class under some weights, float64 (classes,)."""
        batches, labels = self.test
        return class_accuracies(self.bench.network, state, batches, labels, len(self.bench.model.labels))


def norm(tensors: Iterable[Tensor]) -> float:
    """Return the Frobenius norm of several tensors together."""
    return sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))


def table(rows: Sequence[Row]) -> str:
    """Return the requests as a Markdown table."""
    lines = []
    for row in sorted(rows, key=lambda row: (row.alphas, len(row.forgotten), row.forgotten)):
        figures = (f"{row.worst:.1f}", f"{row.drop:+.2f}", f"{row.seconds:.1f}")
        lines.append((row.alphas, ", ".join(map(str, row.forgotten)), row.statistics, *figures, bracketed(row.taken)))
    return markdown(COLUMNS, lines)


def main() -> int:
    """Compare; return 1 if weights that must not depend on the order do."""
    parser = arguments(__doc__)
    parser.add_argument("--each", type=int, default=300, help="test images of every class")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rows: list[Row] = []
    differences: list[Difference] = []
    with tempfile.TemporaryDirectory() as scratch:
        data = unpack(options.images, options.work or Path(scratch))
        comparison = Comparison(Cifar(Path(scratch) / "ledger", data, options.models, SETTINGS).bench, options.each)
        for name in comparison.choices:
            followed, final = comparison.follow(name, SEQUENCE, [FIXED])
            rows += followed
            differences.append(comparison.compare_orders(name, SEQUENCE, final, FIXED))
            rows += comparison.follow(name, SEQUENCE, GRID)[0]
            # A first request's chain starts at the registered weights: nothing new to see. Nor is SEQUENCE's first.
            for k in () if name == "chain" else (k for k in ALONE if k != SEQUENCE[0]):
                rows += comparison.follow(name, [k], [FIXED])[0]
    print(table(rows))
    compared = (
        (d.statistics, "equal" if d.equal else "differ", f"{d.of_weights:.4f}", f"{d.of_edit:.3f}") for d in differences
    )
    print("\n" + markdown(ORDERS, compared))
    if options.json:
        figures = {"requests": [asdict(row) for row in rows], "orders": [asdict(d) for d in differences]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(any(not d.equal for d in differences if d.statistics != "chain"))


if __name__ == "__main__":
    raise SystemExit(main())
