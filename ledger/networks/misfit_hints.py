"""Say why weights do not fit a network, and how to go on: wrappers leave their names in those of the weights."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from ledger.domain.command_lines import command
from ledger.weights.adapters import hint as adapter_hint
from ledger.weights.adapters import is_adapter
from ledger.weights.foreign_files import convert_command

MOST_DEPTH = 3
"""Most parts of a name that are tried as a prefix."""
INNER_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What wrappers of parts put into names."""
PROFILED = ("total_ops", "total_params")
"""What counters of operations leave in every layer."""
MOST_PATTERNS = 10
COUNTER = "num_batches_tracked"
DEFAULT = "check --arch, --arch-option and that the number of outputs equals the number of classes"
Shapes = Mapping[str, tuple[int, ...]]


def hint_of_misfit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> str:
    """Return what to do about weights that do not fit.

    Args:
        state: The weights, by name.
        own: The network's state dict.
        source: File of the weights.
    """
    given: Shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wanted: Shapes = {name: tuple(tensor.shape) for name, tensor in own.items() if not name.endswith(COUNTER)}
    if not wanted or not given or is_adapter(given):
        return adapter_hint(Path(source)) if is_adapter(given) else DEFAULT
    fitting = [prefix for prefix in _prefixes(given) if _covers(_below(given, prefix), wanted)]
    if "" in fitting:
        options = _leaving_out(sorted(given.keys() - own.keys()), own)
        return f"leave out what is not the network's: {convert_command(Path(source), *options)}" if options else DEFAULT
    if fitting:
        several = f"; it holds {len(fitting)} sets of weights, {', '.join(fitting)}" if len(fitting) > 1 else ""
        said = f"a wrapper put {fitting[0]} before every name{several}"
        return f"{said}: {convert_command(Path(source), *_prefix_option(fitting[0]))}"
    for prefix in ("", *_prefixes(given)):
        cleaned = {_unwrapped(name): shape for name, shape in _below(given, prefix).items()}
        if _covers(cleaned, wanted):
            command = convert_command(Path(source), *_prefix_option(prefix))
            return f"a wrapper left its name in those of the weights: {command}"
    if _is_shard(source):
        return f"it is one of several files; join them: {convert_command(_index_of(source))}"
    return _of_network_around(given, wanted, source) or _of_outputs(given, wanted) or _otherwise(source)


def _otherwise(source: str) -> str:
    return f"{DEFAULT}; which networks these weights fit: {command('weights', 'inspect', source)}"


def _of_network_around(given: Shapes, wanted: Shapes, source: str) -> str:
    """Return a hint if the network's names have a prefix that those of the weights lack."""
    for prefix in _prefixes(wanted):
        inner = _below(wanted, prefix)
        if prefix and len(inner) == len(wanted) and _covers(given, inner):
            return (
                f"every name of the network begins with {prefix}, and none of the weights: let the factory return what "
                f"it calls {prefix[:-1]}, or add it: {convert_command(Path(source), '--add-prefix', prefix)}"
            )
    return ""


def _prefixes(shapes: Shapes) -> Iterator[str]:
    """Yield the beginnings of names that could be a wrapper's, shortest first."""
    found: dict[str, None] = {"": None}
    for name in shapes:
        parts = name.split(".")
        found |= dict.fromkeys(".".join(parts[:depth]) + "." for depth in range(1, min(MOST_DEPTH, len(parts) - 1) + 1))
    yield from sorted(found, key=lambda prefix: (prefix.count("."), "ema" in prefix))


def _below(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _covers(given: Shapes, wanted: Shapes) -> bool:
    return bool(wanted) and all(given.get(name) == shape for name, shape in wanted.items())


def _unwrapped(name: str) -> str:
    for wrapper in INNER_WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _prefix_option(prefix: str) -> tuple[str, ...]:
    # The command takes what wrappers leave in names away first.
    cleaned = _unwrapped(prefix)
    return ("--prefix", cleaned) if cleaned else ()


def _leaving_out(extra: list[str], own: Iterable[str]) -> list[str]:
    """Return options that leave out what is beside the network; none if something of the network's own is too much.

    A bias that the network does not have is no addition: without it, the network would answer otherwise.
    """
    tops = {name.partition(".")[0] for name in own}
    beside = [name for name in extra if name.partition(".")[0] not in tops or name.endswith(PROFILED)]
    if len(beside) < len(extra):
        return []
    patterns = dict.fromkeys(
        f"*{name.rpartition('.')[2]}" if name.endswith(PROFILED) else name.partition(".")[0] + ".*" * ("." in name)
        for name in extra
    )
    return [text for pattern in list(patterns)[:MOST_PATTERNS] for text in ("--leave-out", pattern)]


def _is_shard(source: str) -> bool:
    return "-of-" in Path(source).stem


def _index_of(source: str) -> Path:
    path = Path(source)
    stem = path.stem.rpartition("-of-")[0].rpartition("-")[0]
    return path.with_name(f"{stem}{path.suffix}.index.json")


def _of_outputs(given: Shapes, wanted: Shapes) -> str:
    """Return a hint if only the number of outputs differs."""
    if given.keys() - {n for n in given if n.endswith(COUNTER)} != wanted.keys():
        return ""
    pairs = {(given[n][:1], wanted[n][:1]) for n in wanted if given[n] != wanted[n] and given[n][1:] == wanted[n][1:]}
    others = [n for n in wanted if given[n] != wanted[n] and given[n][1:] != wanted[n][1:]]
    if len(pairs) != 1 or others:
        return ""
    [(before, now)] = pairs
    if not before or not now:
        return ""
    return (
        "check that the number of outputs equals the number of classes: "
        f"the weights tell {before[0]} classes apart, and the data has {now[0]}; use the data that the network was "
        "trained on, or weights that were trained on this data"
    )
