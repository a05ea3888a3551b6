"""Find the state dicts in what a file holds, and choose one."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ledger.errors import UsageError, WeightsError

MOST_DEPTH = 5
"""Deepest nesting that is searched."""
PREFERRED = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "")
"""Names under which training scripts keep the weights of the network, the more telling first."""
AVERAGED = re.compile(r"(^|[._])(ema|shadow|averaged|swa|teacher|polyak)($|[._])")
"""In the names of averaged copies of weights."""
MOST_LISTED = 6


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, and where they were found."""

    key: str
    """The keys that lead there, with dots between; empty for the whole file."""
    tensors: Mapping[str, Tensor]
    others: tuple[str, ...]
    """Names of what stands beside the tensors and is none."""

    @property
    def elements(self) -> int:
        """Number of elements of all tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())


def find_state_dicts(found: Any) -> list[StateDict]:
    """Return each mapping of names to tensors in a file, and each whole network as one."""
    return list(_search(found, (), set()))


def _search(value: Any, keys: tuple[str, ...], seen: set[int]) -> Iterator[StateDict]:
    if not isinstance(value, Mapping) or len(keys) > MOST_DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    attributes = getattr(value, "__dict__", {})
    if isinstance(attributes.get("_modules"), Mapping):
        yield StateDict(".".join(keys), dict(_of_network(attributes, "", set())), ())
        return
    tensors = {name: item for name, item in value.items() if isinstance(name, str) and isinstance(item, Tensor)}
    if tensors:
        yield StateDict(".".join(keys), tensors, tuple(str(name) for name in value if name not in tensors))
    for name, item in [*value.items(), *attributes.items()]:
        if isinstance(name, str):
            yield from _search(item, (*keys, name), seen)


def _of_network(attributes: Mapping[str, Any], prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and buffers of a network that was saved as a whole, by name."""
    if id(attributes) in seen:
        return
    seen.add(id(attributes))
    passing = attributes.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (attributes.get(kind) or {}).items():
            if isinstance(tensor, Tensor) and name not in passing:
                yield f"{prefix}{name}", tensor
    for name, part in (attributes.get("_modules") or {}).items():
        yield from _of_network(getattr(part, "__dict__", {}), f"{prefix}{name}.", seen)


def choose(found: list[StateDict], key: str | None) -> StateDict:
    """Return the state dict of a key, or the one that is most likely the network's.

    Averaged copies are chosen only if there is nothing else: which of the two an accuracy was published for, nobody can
    see.

    Raises:
        WeightsError: There is none at all.
        UsageError: There is none of this key.
    """
    if not found:
        raise WeightsError("it holds no tensors by name", "save the weights with torch.save(model.state_dict(), FILE)")
    if key is not None:
        for one in found:
            if one.key == key:
                return one
        keys = ", ".join(repr(one.key) for one in found[:MOST_LISTED])
        raise UsageError(f"it holds no tensors under {key!r}", f"there are tensors under {keys}")
    own = [one for one in found if not AVERAGED.search(one.key)] or found
    most = max(one.elements for one in own)
    # Counters and class weights may stand beside the network; a second network of half its size is another one.
    large = [one for one in own if one.elements * 2 >= most]
    return min(large, key=lambda one: (_rank(one.key), -one.elements))


def _rank(key: str) -> int:
    last = key.rpartition(".")[2]
    return PREFERRED.index(last) if last in PREFERRED else len(PREFERRED)
