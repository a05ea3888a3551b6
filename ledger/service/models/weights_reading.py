"""Read the tensors of whatever file they come in, without running any code of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ledger.errors import UsageError, WeightsError
from ledger.json_shapes import read_json_as
from ledger.named_files import open_named, read_text, reading
from ledger.weights import adapters, foreign_files, pickled_files, tensor_files
from ledger.weights.state_choice import StateDict, choose, find_state_dicts
from ledger.weights.wrapper_names import Renamed, rename


@dataclass(frozen=True)
class Names:
    """What a person says about the names of the tensors."""

    key: str | None = None
    """Which state dict to take; None chooses."""
    prefix: str | None = None
    """What to take off, with all that does not begin with it left out; None finds out."""
    add_prefix: str = ""
    leave_out: tuple[str, ...] = ()
    """Patterns of names that are left out."""
    keep_names: bool = False


@dataclass(frozen=True)
class ReadWeights:
    """What a file holds."""

    path: Path
    """The file itself, where a folder was named."""
    kind: str
    """What it is: ``torch.save``, ``safetensors`` or ``index``."""
    value: Any
    """The tensors by name, or what is around them."""
    stood_for: tuple[str, ...]
    """Names of classes and functions that the file asks for; none of them was run."""


@dataclass(frozen=True)
class ChosenWeights:
    """The weights of one network, of all that a file holds."""

    read: ReadWeights
    found: tuple[StateDict, ...]
    """All state dicts of the file."""
    chosen: StateDict
    renamed: Renamed
    """Its tensors under the network's own names."""

    @property
    def others(self) -> tuple[StateDict, ...]:
        """What else could have been taken."""
        return tuple(one for one in self.found if one is not self.chosen)

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of what is in the file beside the chosen weights."""
        top, value = self.chosen.key.partition(".")[0], self.read.value
        around = self.chosen.key and isinstance(value, dict)
        outer = tuple(str(name) for name in value if str(name) != top) if around else ()
        return (*outer, *self.chosen.others)


def read_chosen(source: Path, names: Names) -> ChosenWeights:
    """Read the weights of the network that a file holds.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or what is asked for is not in it.
        WeightsError: It holds no weights that can be read without running code, or is another kind of file.
    """
    read = read_weights(source)
    found = find_state_dicts(read.value)
    try:
        chosen = choose(found, names.key)
    except WeightsError as error:
        raise WeightsError(f"{source} has no weights: {error.message}", _way_on(read.stood_for, error.hint)) from error
    renamed = rename(
        chosen.tensors,
        prefix=names.prefix,
        add_prefix=names.add_prefix,
        leave_out=names.leave_out,
        keep_names=names.keep_names,
    )
    return ChosenWeights(read, tuple(found), chosen, renamed)


def read_weights(path: Path) -> ReadWeights:
    """Read a file, or the file that a folder is known to hold its weights in.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or is a folder with several files that could be meant.
        WeightsError: It is another kind of file.
    """
    if path.is_dir():
        path = _file_in(path)
    with reading(path, "weights file"), open_named(path) as file:
        beginning = file.read(foreign_files.BEGINNING)
    found = foreign_files.recognise(path, beginning)
    if found is None:
        return ReadWeights(path, "safetensors", tensor_files.parse(tensor_files.read_file(path), str(path)), ())
    if "pickle" in found.what:
        value, stood_for = pickled_files.read_pickled(path)
        return ReadWeights(path, "torch.save", value, stood_for)
    if "index" in found.what:
        return ReadWeights(path, "index", _joined(path), ())
    raise WeightsError(f"{path} holds no torch weights: it is {found.what}", found.hint)


def _file_in(folder: Path) -> Path:
    if adapters.adapter_folder(folder) is not None:
        return adapters.find_file(folder)
    for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"cannot read {folder}: it is a folder", foreign_files.recognise_folder(folder))


def _joined(path: Path) -> dict[str, Tensor]:
    """Return the tensors of all files that an index names."""
    try:
        files = sorted(set(read_json_as(_Index, read_text(path, "index")).weight_map.values()))
    except ValueError as error:
        raise WeightsError(f"{path} is not an index of weights files: {error}", "name a weights file") from error
    state: dict[str, Tensor] = {}
    for name in files:
        # Names in files are not paths: one of them could lead anywhere.
        if Path(name).name != name:
            raise WeightsError(f"{path} names a file elsewhere: {name}", "put the files beside the index")
        part = {} if name.endswith(".json") else read_weights(path.with_name(name)).value
        if not part or not isinstance(part, dict):
            raise WeightsError(f"{path.with_name(name)} holds no tensors by name", "download the files again")
        state |= {key: tensor for key, tensor in part.items() if isinstance(tensor, Tensor)}
    return state


@dataclass(frozen=True)
class _Index:
    weight_map: dict[str, str]


def _way_on(stood_for: tuple[str, ...], hint: str) -> str:
    if any(name.startswith("torch.distributed") for name in stood_for):
        return "its weights are spread over processes; save them joined: torch.distributed.checkpoint.state_dict"
    if stood_for:
        return f"it holds objects of {', '.join(stood_for[:3])}, whose code is not run; {hint}"
    return hint
