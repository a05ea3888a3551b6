"""Say what a weights file is, which network it may belong to, and how to register it; none of its code is run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ledger.domain.command_lines import command
from ledger.errors import WeightsError
from ledger.hookspecs import RecognisedArchitecture
from ledger.plugin_manager import Plugins, build_plugins
from ledger.weights import adapters, foreign_files
from ledger.weights.state_choice import StateDict

from .weights_reading import ChosenWeights, Names, read_chosen

ARCHITECTURE_KEYS = ("arch", "architecture", "model_name")
"""Keys under which training scripts keep the name of the architecture."""
MOST_NAME = 200


@dataclass(frozen=True)
class Inspection:
    """What is known of a weights file."""

    path: Path
    kind: str
    """``torch.save``, ``safetensors`` or ``index``."""
    size: int
    """Bytes of the file."""
    key: str
    """Where in it the weights are; empty for the whole of it."""
    others: tuple[StateDict, ...]
    """What else it holds."""
    beside: tuple[str, ...]
    """Names of what stands beside the weights."""
    removed: tuple[str, ...]
    """What wrappers put into the names."""
    stood_for: tuple[str, ...]
    """Names of classes and functions that the file asks for; none of them was run."""
    tensors: int
    parameters: int
    """Elements of all tensors."""
    dtypes: Mapping[str, int]
    """Number of tensors of each type."""
    said: str
    """What the file itself calls the architecture; empty if it does not say."""
    architectures: tuple[RecognisedArchitecture, ...]
    """Architectures whose weights have just these names and shapes."""
    classes: int | None
    """Number of outputs; None if that cannot be told."""
    plain: bool
    """Whether ``model add`` takes the file as it is."""
    commands: tuple[str, ...]
    """What to run to register it, with the words in capitals to be replaced."""


def inspect(path: Path, plugins: Plugins | None = None) -> Inspection:
    """Look into a weights file.

    Args:
        path: The file, or a folder that holds weights under a usual name.
        plugins: They recognise architectures; None loads those that are installed.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read.
        WeightsError: It holds no weights that can be read without running code, is another kind of file, or an adapter.
    """
    chosen = read_chosen(path, Names())
    tensors = chosen.renamed.tensors
    if adapters.is_adapter(tensors):
        raise WeightsError(f"{path} is an adapter, which changes the weights of a network", adapters.hint(path))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = (plugins or build_plugins()).recognise(shapes)
    # Another name, key or form than the network's own is converted.
    plain = chosen.read.kind == "safetensors" and not chosen.renamed.removed and not chosen.renamed.left_out
    return Inspection(
        path=chosen.read.path,
        kind=chosen.read.kind,
        size=chosen.read.path.stat().st_size,
        key=chosen.chosen.key,
        others=chosen.others,
        beside=chosen.beside,
        removed=chosen.renamed.removed,
        stood_for=chosen.read.stood_for,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()),
        said=_said(chosen),
        architectures=found,
        classes=found[0].classes if found else _outputs(tensors),
        plain=plain,
        commands=tuple(_commands(chosen.read.path, found, plain=plain)),
    )


def _said(chosen: ChosenWeights) -> str:
    value = chosen.read.value
    named = (value.get(key) for key in ARCHITECTURE_KEYS) if isinstance(value, Mapping) else ()
    return next((name[:MOST_NAME] for name in named if isinstance(name, str)), "")


def _outputs(tensors: Mapping[str, Tensor]) -> int | None:
    """Return the length of the last bias beside a matrix: usually that of the outputs."""
    biases = [name for name in tensors if name.endswith(".bias") and tensors[name].dim() == 1]
    last = next((name for name in reversed(biases) if _weight_of(name, tensors) == 2), None)
    return None if last is None else int(tensors[last].shape[0])


def _weight_of(bias: str, tensors: Mapping[str, Tensor]) -> int:
    weight = tensors.get(f"{bias.removesuffix('.bias')}.weight")
    return 0 if weight is None else weight.dim()


def _commands(path: Path, found: tuple[RecognisedArchitecture, ...], *, plain: bool) -> list[str]:
    convert = foreign_files.convert_command(path)
    weights = str(path) if plain else convert.rpartition(" ")[2]
    first = found[0] if found else None
    options = [] if first is None else [f"{key}={value}" for key, value in first.options.items()]
    arch = "timm/ARCH" if first is None else first.spec
    words = [word for option in options for word in ("--arch-option", option)]
    add = command("model", "add", "NAME", "--arch", arch, *words, "--weights")
    return [*([] if plain else [convert]), f"{add} {weights} --data folder:PATH"]
