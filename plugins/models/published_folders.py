"""Networks that come with a description of themselves: ``local-dir:FOLDER`` and ``hf-hub:NAME``, as timm writes them.

``timm.models.save_for_hf`` and ``unledger model export`` write a folder with ``config.json`` and ``model.safetensors``;
a repository of the Hugging Face hub holds the same files. The description names an architecture of timm, so the folder
is read once: what is recorded is that architecture with its options.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ledger.domain.command_lines import command, quoted
from ledger.errors import LedgerError, NotFoundError, UsageError, WeightsError
from ledger.hookspecs import PublishedModel, hookimpl
from ledger.named_files import read_text

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.pth", "model.pth", "model.pt")
ADAPTER = "adapter_config.json"
NOT_OPTIONS = frozenset({"num_classes", "pretrained"})
"""Arguments of timm's builder that follow from the data and the weights."""


@hookimpl
def unledger_published_model(spec: str) -> PublishedModel | None:
    """Answer to ``local-dir:FOLDER`` and ``hf-hub:NAME``."""
    if spec.startswith(LOCAL):
        return _of_folder(Path(spec.removeprefix(LOCAL)).expanduser(), spec)
    return _of_hub(spec.removeprefix(HUB), spec) if spec.startswith(HUB) else None


def _of_folder(folder: Path, spec: str) -> PublishedModel:
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", f"check the path after {LOCAL}")
    weights = _weights_in(folder)
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} has no {CONFIG} that describes a network", _without_description(folder, weights))
    architecture, options = _described(folder / CONFIG, weights)
    why, way = ("", "") if weights is not None else _without_weights(folder)
    return PublishedModel(architecture, options, weights, folder / CONFIG, spec, why, way)


def _weights_in(folder: Path) -> Path | None:
    """Return the safetensors file of a folder: the one of the usual name, or the only one."""
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    others = sorted(folder.glob("*.safetensors"))
    return others[0] if len(others) == 1 and "adapter" not in others[0].name else None


def _described(path: Path, weights: Path | None) -> tuple[str, Mapping[str, Any]]:
    """Return the architecture that a description names, and its options."""
    try:
        config = json.loads(read_text(path, "description"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}", "download or copy it again") from error
    inner = config.get("pretrained_cfg") if isinstance(config, dict) else None
    name = config.get("architecture") if isinstance(config, dict) else None
    name = name or (inner.get("architecture") if isinstance(inner, dict) else None)
    weighted = "" if weights is None else f" --weights {quoted(str(weights))}"
    if not isinstance(name, str) or not name:
        raise UsageError(f"{path} names no architecture of timm{_what_else(config)}", _own_factory(weighted))
    if name.startswith("torchvision/"):
        return name, _options(config)
    if ":" in name or "/" in name:
        raise UsageError(
            f"the network of {path.parent} is built by {name}, which is not part of the folder",
            f"name what builds it: --arch {quoted(name)}{weighted} --preprocessing {quoted(str(path))} "
            f"--labels {quoted(str(path))}",
        )
    return f"timm/{name}", _options(config)


def _options(config: Mapping[str, Any]) -> Mapping[str, Any]:
    given = config.get("model_args")
    return {key: value for key, value in (given if isinstance(given, dict) else {}).items() if key not in NOT_OPTIONS}


def _what_else(config: Any) -> str:
    kinds = config.get("architectures") if isinstance(config, dict) else None
    if isinstance(kinds, list) and kinds:
        return f": it describes {kinds[0]} of another library, as transformers writes it"
    return ""


def _own_factory(weighted: str) -> str:
    return (
        "write a factory that builds the network and returns its logits, and name it: "
        f"--arch FILE.py:factory{weighted or ' --weights FILE'}; timm's name of the same network may fit as well: "
        f"{command('weights', 'inspect', 'FILE')}"
    )


def _without_description(folder: Path, weights: Path | None) -> str:
    if (folder / ADAPTER).is_file():
        merge = command("weights", "convert", folder, "merged.safetensors", "--base", "FILE")
        return f"it holds an adapter, which changes the weights of a network: merge the two: {merge}"
    if weights is not None:
        return (
            f"find out which network it is: {command('weights', 'inspect', weights)}, and name it: "
            f"--arch timm/ARCH --weights {quoted(str(weights))}"
        )
    return "name a folder that timm's save_for_hf, or unledger model export, wrote"


def _without_weights(folder: Path) -> tuple[str, str]:
    """Return why there are no weights in a described folder, and what to do."""
    target = f"{folder.name or 'weights'}.safetensors"
    if (folder / INDEX).is_file():
        join = command("weights", "convert", folder / INDEX, target)
        return f"{folder} holds weights in several files", f"join them: {join}, and add --weights {quoted(target)}"
    found = next((folder / name for name in PICKLES if (folder / name).is_file()), None)
    if found is not None:
        convert = command("weights", "convert", found, target)
        return (
            f"{folder} holds its weights as {found.name}, a pickle, which can run any code when it is loaded",
            f"convert it once, without running its code: {convert}, and add --weights {quoted(target)}",
        )
    several = sorted(path.name for path in folder.glob("*.safetensors"))
    if several:
        return f"{folder} holds several weights files: {', '.join(several[:5])}", "name one of them with --weights"
    return f"{folder} has no {WEIGHTS}", "add --weights FILE"


# -- the hub --------------------------------------------------------------------------------------------------------


def _of_hub(name: str, spec: str) -> PublishedModel:
    config = _fetched(name, CONFIG)
    try:
        weights = _fetched(name, WEIGHTS)
    except NotFoundError as error:
        for other in (INDEX, *PICKLES):
            try:
                found = _fetched(name, other)
            except NotFoundError:
                continue
            raise WeightsError(
                f"{name} has its weights as {other}, not as {WEIGHTS}",
                f"convert them: {command('weights', 'convert', found, 'weights.safetensors')}, and register with "
                f"--arch {quoted(LOCAL + str(config.parent))} --weights weights.safetensors",
            ) from error
        raise
    architecture, options = _described(config, weights)
    # The snapshot's folder is called after the commit.
    return PublishedModel(architecture, options, weights, config, f"{spec} at {config.parent.name[:12]}")


def _fetched(name: str, file: str) -> Path:
    """Return a file of a repository, in huggingface_hub's cache."""
    repository, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(repository, file, revision=revision or None))
    except HFValidationError as error:
        raise UsageError(f"{name!r} is not the name of a repository", "write hf-hub:OWNER/NAME") from error
    except GatedRepoError as error:
        raise LedgerError(
            f"the hub wants an agreement before it gives out {repository}",
            f"agree to it in a browser, log in with hf auth login, then: hf download {quoted(repository)}",
        ) from error
    except LocalEntryNotFoundError as error:
        raise LedgerError(
            f"{file} of {repository} is not in the cache of huggingface_hub, and the hub cannot be reached from here",
            f"where there is a network: hf download {quoted(repository)} --local-dir FOLDER; bring the folder here, "
            "and register it with --arch local-dir:FOLDER",
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        missing = file if isinstance(error, EntryNotFoundError) else "such a repository or revision"
        raise NotFoundError(f"the hub has no {missing} for {name}", "check the name after hf-hub:") from error
    # What a connection can break of is not written down anywhere.
    except Exception as error:
        raise LedgerError(
            f"cannot get {file} of {repository} from the hub: {str(error)[:200]}",
            "try again later, or set HF_HUB_OFFLINE=1",
        ) from error
