"""Write the fingerprints of all architectures of timm and torchvision, by which ``weights inspect`` guesses one.

It takes a few minutes: each network is built, without memory for its weights.
"""

import argparse
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import timm
import torch
import torchvision
from ledger.plugins.models.architecture_index import fingerprint
from torch import nn

ROOT = Path(__file__).parents[1]
HEADER = "# By benchmarks/architecture_index.py, of timm {timm} and torchvision {torchvision}: a fingerprint, names.\n"
INITIALISERS = {
    *(f"{name}_" for name in ("uniform", "normal", "trunc_normal", "constant", "ones", "zeros", "eye", "dirac")),
    *(f"{name}_{kind}_" for name in ("xavier", "kaiming") for kind in ("uniform", "normal")),
    *("orthogonal_", "sparse_", "trunc_normal_tf_", "lecun_normal_", "variance_scaling_"),
}


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter and buffer."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def without_drawing() -> None:
    """Let initialisation do nothing for the rest of this process: nobody looks at the values, which take long."""
    modules = [module for name, module in sys.modules.items() if name.startswith(("torch.nn.init", "timm."))]
    for module in modules:
        for name in INITIALISERS & vars(module).keys():
            setattr(module, name, lambda tensor, *_args, **_named: tensor)


def built(limit: int | None) -> Iterator[tuple[str, nn.Module]]:
    """Yield every architecture's name and its network, without values; those that need some are left out, and told."""
    builders: dict[str, Callable[[], nn.Module]] = {}
    # Short names first: the others are variants of them.
    for name in sorted(timm.list_models(), key=lambda name: (len(name), name))[:limit]:
        builders[f"timm/{name}"] = partial(timm.create_model, name, pretrained=False)
    for name in torchvision.models.list_models(module=torchvision.models)[:limit]:
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        builders[f"torchvision/{name}"] = partial(torchvision.models.get_model, name, weights=None, **options)
    for name, build in builders.items():
        try:
            yield name, build()
        except NotImplementedError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "plugins" / "models" / "architectures.txt")
    parser.add_argument("--limit", type=int, help="only the first so many of each library")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found: dict[str, list[str]] = defaultdict(list)
    without_drawing()
    with torch.device("meta"):
        for name, module in built(arguments.limit):
            found[fingerprint(shapes_of(module))].append(name)
            print(name, file=sys.stderr)
            write(arguments.output, found)


def write(output: Path, found: Mapping[str, Sequence[str]]) -> None:
    """Write what was found so far, so that an interrupted run is of use."""
    header = HEADER.format(timm=timm.__version__, torchvision=torchvision.__version__)
    # Short names first: the others are often variants of them.
    lines = [f"{key} {' '.join(sorted(names, key=lambda n: (len(n), n)))}\n" for key, names in sorted(found.items())]
    output.write_text(header + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
