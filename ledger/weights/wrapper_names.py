"""Take what wrappers put into the names of weights out of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from ledger.errors import UsageError

from .state_choice import AVERAGED

ANYWHERE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module.")
"""Names that only wrappers have: of ``torch.compile``, of sharding, of checkpointed activations."""
BEFORE = ("module.", "state_dict.", "model.", "net.", "network.", "backbone.", "encoder.", "student.")
"""What stands before every name where the network was an attribute of something else."""
COUNTERS = ("n_averaged",)
"""What ``torch.optim.swa_utils.AveragedModel`` adds."""
MOST_LISTED = 6


@dataclass(frozen=True)
class Renamed:
    """Tensors under the network's own names."""

    tensors: Mapping[str, Tensor]
    removed: tuple[str, ...]
    """What was taken out of the names."""
    left_out: tuple[str, ...]
    """Names of tensors that are not the network's."""


def rename(
    tensors: Mapping[str, Tensor],
    *,
    prefix: str | None = None,
    add_prefix: str = "",
    leave_out: tuple[str, ...] = (),
    keep_names: bool = False,
) -> Renamed:
    """Return tensors under the names that the network itself gives them.

    Args:
        tensors: As they were found.
        prefix: Take only what begins with this, and take it off. None: take off what is known to be a wrapper's, and
            leave out averaged copies beside the weights.
        add_prefix: Put this before every name.
        leave_out: Patterns of names, as in a shell, that are left out.
        keep_names: Take nothing off.

    Raises:
        UsageError: Nothing is left, or two tensors would have one name.
    """
    kept = {name: t for name, t in tensors.items() if not any(fnmatchcase(name, pattern) for pattern in leave_out)}
    removed: list[str] = []
    if not keep_names:
        for wrapper in ANYWHERE:
            if any(wrapper in name for name in kept):
                kept = _renamed(kept, {name: name.replace(wrapper, "") for name in kept})
                removed.append(wrapper)
                prefix = prefix and prefix.replace(wrapper, "")
    if prefix:
        kept = {name: tensor for name, tensor in kept.items() if name.startswith(prefix)}
        if not kept:
            raise UsageError(f"no tensor has a name that begins with {prefix}", f"they begin with {_listed(tensors)}")
        removed.append(prefix)
        kept = _renamed(kept, {name: name.removeprefix(prefix) for name in kept})
    elif not keep_names:
        kept = _without_copies(kept)
        while (common := _common(kept)) is not None:
            removed.append(common)
            kept = _renamed(kept, {name: name.removeprefix(common) for name in kept})
    if not kept:
        raise UsageError("no tensor is left", f"their names begin with {_listed(tensors)}")
    values = {id(tensor) for tensor in kept.values()}
    left_out = tuple(name for name, tensor in tensors.items() if id(tensor) not in values)
    return Renamed({add_prefix + name: tensor for name, tensor in kept.items()}, tuple(removed), left_out)


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {names[name]: tensor for name, tensor in tensors.items()}
    if len(renamed) < len(tensors) or "" in renamed:
        raise UsageError(
            "two tensors would have the same name", "choose some with --prefix, or keep their --keep-names"
        )
    return renamed


def _without_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out averaged copies, and their counters, if there are other tensors."""
    own = {n: t for n, t in tensors.items() if not AVERAGED.search(n.partition(".")[0]) and n not in COUNTERS}
    return own or dict(tensors)


def _common(tensors: Mapping[str, Tensor]) -> str | None:
    return next((prefix for prefix in BEFORE if tensors and all(name.startswith(prefix) for name in tensors)), None)


def _listed(tensors: Mapping[str, Tensor]) -> str:
    counted = Counter(f"{name.partition('.')[0]}." for name in tensors if "." in name)
    return ", ".join(f"{begin} ({count})" for begin, count in counted.most_common(MOST_LISTED)) or "no common word"
