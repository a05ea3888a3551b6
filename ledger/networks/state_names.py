"""The names in a network's state dict, and whether given weights fit them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ledger.errors import WeightsError

from .misfit_hints import COUNTER, hint_of_misfit


@dataclass(frozen=True)
class StateNames:
    """The names under which a network holds its parameters and buffers."""

    first: Mapping[str, str]
    """Every name of a parameter, to its first name. A shared parameter has several names."""
    held: frozenset[str]
    """One name for each tensor that a module holds. A module that stands in several places counts once."""

    @classmethod
    def of(cls, module: nn.Module) -> "StateNames":
        """Return the names in a network."""
        first = {id(parameter): name for name, parameter in module.named_parameters()}
        named = module.named_parameters(remove_duplicate=False)
        held = frozenset(
            f"{prefix}.{name}" if prefix else name
            for prefix, part in module.named_modules()
            # The only way to list shared ones as well; a scripted module has no iterator, but keys.
            for name in (*part._parameters.keys(), *part._buffers.keys())  # noqa: SLF001
        )
        return cls({name: first[id(parameter)] for name, parameter in named}, held)

    @property
    def duplicates(self) -> dict[str, str]:
        """Every further name of a shared parameter, to its first name."""
        return {name: first for name, first in self.first.items() if name != first}

    def duplicates_of(self, parameters: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return pairs of the first name of one of these parameters and a further name of it."""
        first = {self.first[name] for name in parameters}
        return tuple((own, name) for name, own in self.duplicates.items() if own in first)


def require_fit(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], duplicates: Mapping[str, str], source: str
) -> None:
    """Check that weights can replace a network's own.

    Args:
        state: The weights, by name.
        own: The network's state dict.
        duplicates: Every further name of a shared parameter, to its first name.
        source: Where the weights come from, for the error.

    The counters of normalisation layers may be missing, or of another type.

    Raises:
        WeightsError: Names are missing or unknown, a shape or the kind of number differs, or a shared parameter has
            different values under two names.
    """
    counters = {name for name in own if _is_counter(name, own[name])}
    missing, unknown = sorted(own.keys() - state.keys() - counters), sorted(state.keys() - own.keys())
    wrong = [
        f"{k} is {tuple(state[k].shape)}, the network has {tuple(own[k].shape)}"
        for k in sorted(own.keys() & state.keys())
        if own[k].shape != state[k].shape and not (k in counters and state[k].numel() == 1)
    ] + [
        f"{k} holds {state[k].dtype}, the network {own[k].dtype}"
        for k in sorted(own.keys() & state.keys() - counters)
        if (own[k].is_floating_point(), own[k].is_complex()) != (state[k].is_floating_point(), state[k].is_complex())
    ]
    differing = [
        f"{k} differs from {first}, which is the same parameter"
        for k, first in duplicates.items()
        if not (missing or wrong) and not torch.equal(state[k], state[first])
    ]
    problems = [
        *([f"it lacks {_shortened(missing)}"] if missing else []),
        *([f"it has unknown {_shortened(unknown)}"] if unknown else []),
        *([_shortened(wrong)] if wrong else []),
        *([_shortened(differing)] if differing else []),
    ]
    if problems:
        raise WeightsError(
            f"{source} does not fit the network: {'; '.join(problems)}",
            hint_of_misfit(state, own, source),
        )


def _is_counter(name: str, tensor: Tensor) -> bool:
    """Whether a tensor counts the batches that a normalisation layer saw.

    It plays no part in what a network answers. torch itself takes weights without it, as releases before 0.4.1 wrote
    them, and with another type of number.
    """
    return name.rpartition(".")[2] == COUNTER and tensor.dim() == 0 and not tensor.is_floating_point()


def _shortened(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
