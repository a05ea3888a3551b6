"""Compare the weights of two versions, tensor by tensor."""

from dataclasses import dataclass

import torch

from ledger.service.ledger import Ledger

from .workbench import open_workbench


@dataclass(frozen=True)
class TensorDifference:
    """How one tensor differs between two versions."""

    name: str
    shape: tuple[int, ...]
    changed: int
    """Number of elements that differ."""
    relative: float
    """Frobenius norm of the difference over that of the first version's tensor."""
    largest: float
    """Largest absolute difference."""


def diff(ledger: Ledger, model_name: str, first: int, second: int) -> list[TensorDifference]:
    """Compare two versions' weights, tensor by tensor; equal tensors are left out."""
    bench = open_workbench(ledger, model_name)
    with ledger.database.read() as tx:
        versions = [tx.versions.get(bench.model, number) for number in (first, second)]
        tx.trusted.versions(bench.model.name, frozenset({first, second}))
    before, after = (bench.weights(version) for version in versions)
    differences = []
    for name, old in before.items():
        change = after[name].double() - old.double()
        changed = int((change != 0).sum())
        if changed:
            norm = float(torch.linalg.norm(old.double()))
            relative = float(torch.linalg.norm(change)) / norm if norm else float("inf")
            differences.append(TensorDifference(name, tuple(old.shape), changed, relative, float(change.abs().max())))
    return differences
