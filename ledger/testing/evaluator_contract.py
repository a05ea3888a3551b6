"""The contract of an evaluator, checked on a small network that knows its images and one that has forgotten a class.

What it returns is recorded and signed: plain JSON, the same for the same networks, and never a number for what it could
not measure.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ledger.evaluator_input import Depth, EvaluationInput, ExaminedNetwork, NetworkRole, Outputs, SplitName
from ledger.hookspecs import Evaluator

CLASSES = 4
SIDE = 6
EACH = {SplitName.TRAIN: 24, SplitName.TEST: 12}
"""Images of each class."""
FORGOTTEN = (frozenset[int](), frozenset({2}), frozenset({0, 3}))
HIGHEST_LEVEL = 3


def check_evaluator(evaluator: Evaluator, *, seed: int = 0) -> None:
    """Check that an evaluator keeps its contract.

    Args:
        evaluator: The evaluator.
        seed: Of the images and of the networks.

    Raises:
        AssertionError: It does not; says what is wrong.
    """
    name = evaluator.name
    _require(isinstance(name, str) and name == name.strip() and name.isprintable() and name, f"its name is {name!r}")
    level = getattr(evaluator, "level", 1)
    _require(level in range(1, HIGHEST_LEVEL + 1), f"its level is {level!r}, not 1, 2 or 3")
    _require(isinstance(getattr(evaluator, "by_default", True), bool), "its by_default is neither True nor False")
    for forgotten in FORGOTTEN:
        first, again = (_measured(evaluator, small_examination(forgotten, seed=seed)) for _ in range(2))
        _require(first == again, f"it answers differently for the same networks: {_difference(first, again)}")


def small_examination(forgotten: frozenset[int], *, seed: int = 0) -> EvaluationInput:
    """Return what an evaluator sees of a small network that knows images, and of the same without some classes.

    Args:
        forgotten: The classes that the version answers no more.
        seed: Of the images and of the networks.
    """
    generator = torch.Generator().manual_seed(seed)
    patterns = 2 * torch.randn(CLASSES, 1, SIDE, SIDE, generator=generator)
    labels = {split: np.repeat(np.arange(CLASSES), each) for split, each in EACH.items()}
    images = {
        split: patterns[torch.from_numpy(own)] + torch.randn(len(own), 1, SIDE, SIDE, generator=generator)
        for split, own in labels.items()
    }
    original = _network(seed)
    known, truth = images[SplitName.TRAIN], torch.from_numpy(labels[SplitName.TRAIN])
    optimiser = torch.optim.Adam(original.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(original(known), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    version = deepcopy(original)
    head = version[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias[sorted(forgotten)] -= 50.0
    seen: dict[NetworkRole, ExaminedNetwork] = {
        NetworkRole.VERSION: _Examined(version, images, labels),
        NetworkRole.ORIGINAL: _Examined(original, images, labels),
    }
    return EvaluationInput(
        tuple(f"class {k}" for k in range(CLASSES)),
        forgotten,
        train=seen[NetworkRole.VERSION].train,
        test=seen[NetworkRole.VERSION].test,
        base_train=seen[NetworkRole.ORIGINAL].train,
        base_test=seen[NetworkRole.ORIGINAL].test,
        seed=seed,
        networks=seen,
        images=lambda split, positions: images[split][list(positions)],
        fresh=_network,
        batch_size=16,
    )


class _Examined:
    def __init__(
        self, module: nn.Sequential, images: Mapping[SplitName, Tensor], labels: Mapping[SplitName, Any]
    ) -> None:
        self._module, self._images, self._labels = module, images, labels
        self.digest = "0" * 64

    @cached_property
    def train(self) -> Outputs:
        return self._outputs(SplitName.TRAIN)

    @cached_property
    def test(self) -> Outputs:
        return self._outputs(SplitName.TEST)

    def features(self, split: SplitName, depth: Depth) -> "np.ndarray | None":
        with torch.inference_mode():
            inner = 1 if depth is Depth.ONE_THIRD else -1
            return _frozen(self._module[:inner](self._images[SplitName(split)]).numpy())

    def copy(self) -> nn.Module:
        return deepcopy(self._module).eval()

    def _outputs(self, split: SplitName) -> Outputs:
        with torch.inference_mode():
            probabilities = self._module(self._images[split]).double().softmax(1).numpy()
        return Outputs(_frozen(self._labels[split].copy()), _frozen(probabilities))


def _network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 16), nn.ReLU(), nn.Linear(16, CLASSES)).eval()


def _frozen(values: "np.ndarray") -> "np.ndarray":
    values.setflags(write=False)
    return values


def _measured(evaluator: Evaluator, data: EvaluationInput) -> dict[str, Any]:
    metrics = evaluator.evaluate(data)
    _require(isinstance(metrics, dict), f"it returns {type(metrics).__name__} and no dictionary")
    try:
        read = json.loads(json.dumps(metrics, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the evaluator breaks its contract: it returns no plain JSON: {error}") from error
    _require(
        read == metrics,
        "what it returns is another value once it was written as JSON: keys must be texts, and no tuples",
    )
    return metrics


def _difference(first: Mapping[str, Any], again: Mapping[str, Any]) -> Sequence[str]:
    return sorted(key for key in {*first, *again} if first.get(key) != again.get(key))


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(f"the evaluator breaks its contract: {otherwise}")
