"""Weights that torch computes from other parameters (parametrizations, weight norm), as forms of a matrix."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from ledger.domain.linear_map import LinearMap, WeightForm
from ledger.errors import UnsupportedLayerError

ROUND_TRIP_TOLERANCE = 1e-4
"""Largest relative error of a matrix that is put into a form and read back: only rounding is accepted."""


@dataclass(frozen=True, eq=False)
class ParametrizedForm:
    """``torch.nn.utils.parametrize``: the weight is a function of originals, and has a right inverse."""

    prefix: str
    """Beginning of the originals' names in the state dict, e.g. ``fc.parametrizations.weight``."""
    steps: parametrize.ParametrizationList
    shape: tuple[int, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The originals."""
        return tuple(f"{self.prefix}.{name}" for name, _ in self.steps.named_parameters(recurse=False))

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return what the parametrization computes of the originals, float32 (o, i)."""
        own = {name: _precise(state[f"{self.prefix}.{name}"]) for name in self.steps.state_dict()}
        weight: Tensor = functional_call(self.steps, own, ())
        return weight.detach().flatten(1)

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:  # noqa: ARG002 - part of the contract
        """Return the originals that the right inverses give."""
        value: Tensor | tuple[Tensor, ...] = matrix.reshape(self.shape)
        for step in reversed(self.steps):
            value = step.right_inverse(value)  # type: ignore[operator]
        originals = (value,) if isinstance(value, Tensor) else tuple(value)
        return dict(zip(self.parameters, originals, strict=True))


@dataclass(frozen=True, eq=False)
class WeightNormForm:
    """The older ``torch.nn.utils.weight_norm``: a hook computes the weight from its direction and its length."""

    name: str
    """Name of the weight, e.g. ``fc.weight``."""
    dim: int
    shape: tuple[int, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Length and direction."""
        return f"{self.name}_g", f"{self.name}_v"

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return ``g v / |v|``, float32 (o, i)."""
        length, direction = (state[name].float() for name in self.parameters)
        return torch._weight_norm(direction, length, self.dim).flatten(1)  # noqa: SLF001 - what the hook calls

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:  # noqa: ARG002 - part of the contract
        """Return the matrix's own norms, and the matrix."""
        weight = matrix.reshape(self.shape)
        return {f"{self.name}_g": torch.norm_except_dim(weight, 2, self.dim), f"{self.name}_v": weight}


def _precise(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def resolved(linear_map: LinearMap, network: nn.Module, held: Container[str]) -> LinearMap:
    """Return the map, with a form if its parameter is computed from others.

    Args:
        linear_map: As a handler named it.
        network: The whole network.
        held: The names of its parameters.

    Raises:
        UnsupportedLayerError: The parameter is neither held nor computed in a known way, or an edit could not be held.
    """
    missing = [name for name in linear_map.parameters if name not in held]
    if not missing:
        return linear_map
    if linear_map.form is not None or missing != [linear_map.parameter]:
        raise UnsupportedLayerError(f"the network holds no parameter called {missing[0]}")
    form = _form(linear_map.parameter, network)
    _require_exact(form, dict(network.state_dict()))
    return replace(linear_map, parameter=form.parameters[0], form=form)


def _form(parameter: str, network: nn.Module) -> WeightForm:
    prefix, _, last = parameter.rpartition(".")
    owner = network.get_submodule(prefix)
    if parametrize.is_parametrized(owner, last):
        steps = owner.parametrizations[last]  # type: ignore[index]
        assert isinstance(steps, parametrize.ParametrizationList)
        place = f"{prefix}.parametrizations.{last}" if prefix else f"parametrizations.{last}"
        return ParametrizedForm(place, steps, tuple(getattr(owner, last).shape))
    # The network's own hooks.
    for hook in owner._forward_pre_hooks.values():  # noqa: SLF001 - the older weight norm leaves no other trace
        if isinstance(hook, WeightNorm) and hook.name == last:
            return WeightNormForm(parameter, hook.dim, tuple(getattr(owner, last).shape))
    raise UnsupportedLayerError(f"its {last} is no parameter, and is computed in a way that is not known")


def _require_exact(form: WeightForm, state: Mapping[str, Tensor]) -> None:
    """Refuse a form that does not return the matrix that was put into it: an edit would be changed by it."""
    with torch.no_grad():
        try:
            matrix = form.matrix(state)
            # Like an edit: it removes half of one direction, which is neither a scaling nor orthogonal.
            direction = torch.ones(matrix.shape[1]) / matrix.shape[1] ** 0.5
            wanted = matrix - 0.5 * (matrix @ direction).unsqueeze(1) * direction
            found = form.matrix({**state, **form.held(wanted, state)})
        except Exception as error:
            raise UnsupportedLayerError(f"its parametrization cannot take an edited weight: {error}") from error
    if float(torch.linalg.norm(found - wanted)) > ROUND_TRIP_TOLERANCE * float(torch.linalg.norm(wanted)):
        raise UnsupportedLayerError("its parametrization cannot hold an edited weight")
