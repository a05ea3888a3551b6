"""The contract of a solver, checked on maps of several shapes.

What a solver returns must be a function of what it is given, and of nothing else: the weights of a version depend on
the set of forgotten classes alone. So it may neither remember what it was asked before, nor change what it is given.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ledger.algebra.displacement import Displacement
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.strength import Strength
from ledger.hookspecs import GradedSolver, Solver

SHAPES = ((3, 4, 2, 1), (5, 8, 8, 3), (1, 6, 2, 2), (7, 3, 3, 3), (4, 5, 0, 2))
"""Of each map: outputs, inputs, rank of the retain space, rank of the forget space."""
MAPS = 3
"""Maps of one shape that a batched solver is given at once."""
STRENGTHS = (Strength(100.0, 1.0), Strength(1000.0, 30.0), Strength(1.0, 1.0, 2))
BATCH_TOLERANCE = 1e-4
"""Largest difference between maps that are solved together and one by one, as a share of the largest change: float32
sums in another order, behind a factorisation."""


def check_solver(solver: Solver, *, seed: int = 0) -> None:
    """Check that a solver keeps its contract.

    Args:
        solver: The solver.
        seed: Of the maps.

    Raises:
        AssertionError: It does not; says what is wrong, and where.
    """
    name = solver.name
    _require(isinstance(name, str) and name == name.strip() and name.isprintable() and name, f"its name is {name!r}")
    if isinstance(solver, GradedSolver):
        _check_strengths(solver)
    for shape, factors in _maps(seed):
        first = {strength: _solved(solver, factors, strength, shape) for strength in STRENGTHS}
        for strength in reversed(STRENGTHS):
            again = _solved(solver, _copied(factors), strength, shape)
            _require(
                torch.equal(first[strength], again),
                f"it answers differently for the same map of shape {shape} at {strength}: it remembers, or draws lots",
            )
    if getattr(solver, "batched", False):
        _check_batches(solver, seed)


def _check_strengths(solver: GradedSolver) -> None:
    pairs = list(solver.strengths)
    _require(bool(pairs), "it is graded and has no strengths")
    for pair in pairs:
        _require(
            len(pair) == 2 and all(isinstance(alpha, int | float) and 1 <= alpha < math.inf for alpha in pair),
            f"its strength {pair!r} is no pair of numbers from 1",
        )
    _require(getattr(solver, "needs_means", False), "it is graded and does not say needs_means = True")


def _check_batches(solver: Solver, seed: int) -> None:
    for shape, together in _maps(seed, MAPS):
        for strength in STRENGTHS:
            changes = solver.delta(together, strength)
            _require(changes.shape == together.weight.shape, f"it returns {tuple(changes.shape)} for {MAPS} maps")
            for index in range(MAPS):
                alone = solver.delta(together.one(index), strength)
                most = BATCH_TOLERANCE * max(float(alone.abs().max()), 1e-6)
                apart = float((changes[index] - alone).abs().max())
                _require(
                    apart <= most, f"it solves maps of shape {shape} otherwise together than alone, by {apart:.2g}"
                )


def _solved(solver: Solver, factors: MapFactors, strength: Strength, shape: tuple[int, ...]) -> Tensor:
    given = [tensor.clone() for tensor in _tensors(factors)]
    change = solver.delta(factors, strength)
    where = f"for a map of shape {shape} at {strength}"
    _require(isinstance(change, Tensor), f"it returns {type(change).__name__} {where}")
    _require(change.shape == factors.weight.shape, f"it returns {tuple(change.shape)} {where}")
    _require(change.dtype == torch.float32, f"it returns {change.dtype} {where}")
    _require(bool(torch.isfinite(change).all()), f"it returns NaN or infinity {where}")
    _require(
        all(torch.equal(own, tensor) for own, tensor in zip(given, _tensors(factors), strict=True)),
        f"it changes what it is given {where}",
    )
    return change


def _maps(seed: int, count: int = 0) -> Iterator[tuple[tuple[int, ...], MapFactors]]:
    """Yield maps, or ``count`` maps together, of every shape: with a displacement and without."""
    generator = torch.Generator().manual_seed(seed)
    front = (count,) if count else ()
    for shape in SHAPES:
        outputs, inputs, retain, forget = shape

        def drawn(*size: int) -> Tensor:
            return torch.randn(*front, *size, generator=generator)

        weight, retained, forgotten = drawn(outputs, inputs), drawn(inputs, retain), drawn(inputs, forget)
        # Second moments of trace 1, as class spaces have them.
        retained, forgotten = (
            f / f.square().sum((-2, -1), keepdim=True).sqrt().clamp_min(1e-9) for f in (retained, forgotten)
        )
        known = Displacement(drawn(inputs, 1), torch.tensor([math.inf], dtype=torch.float64), drawn(inputs, 2))
        for displacement in (known, None):
            yield shape, MapFactors(weight, retained, forgotten, None if count else [0], displacement)


def _copied(factors: MapFactors) -> MapFactors:
    """Return the same map anew, without the products that were formed of it."""
    return MapFactors(factors.weight, factors.retain, factors.forget, factors.own_outputs, factors.displacement)


def _tensors(factors: MapFactors) -> list[Tensor]:
    known = factors.displacement
    own = [factors.weight, factors.retain, factors.forget]
    return own if known is None else [*own, known.columns, known.weights, known.retained]


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(f"the solver breaks its contract: {otherwise}")
