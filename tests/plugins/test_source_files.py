"""Networks from source files: whatever a file may import, say and do when it is loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from ledger.domain.models import Architecture
from ledger.errors import LedgerError, PluginError, UnsupportedLayerError, UsageError
from ledger.hookspecs import LoadedModel
from ledger.networks.opening import build_network
from ledger.plugin_manager import Plugins, build_plugins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYER = "from torch import nn\nWIDTH = 4\n\n\ndef layer(n):\n    return nn.Linear(WIDTH, n)\n"
BUILD = "\n\ndef build(num_classes):\n    return layer(num_classes)\n"


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return build_plugins()


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    """No load leaves a module, a place to search or a finder behind."""
    yield
    assert not {"layers", "net", "pkg", "other"} & sys.modules.keys()


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def load(plugins: Plugins, folder: Path, spec: str) -> LoadedModel:
    before = list(sys.path), list(sys.meta_path)
    try:
        return plugins.load_model(f"{folder}/{spec}", {}, 3)
    finally:
        assert (sys.path, sys.meta_path) == before


FOUND: dict[str, tuple[str, dict[str, str | bytes]]] = {
    "alone": ("net.py:build", {"net.py": LAYER + BUILD}),
    "byte order mark": ("net.py:build", {"net.py": b"\xef\xbb\xbf" + (LAYER + BUILD).encode()}),
    "carriage returns": ("net.py:build", {"net.py": (LAYER + BUILD).replace("\n", "\r\n")}),
    "other encoding": ("net.py:build", {"net.py": b"# coding: latin-1\nNAME = '\xe9'\n" + (LAYER + BUILD).encode()}),
    "sibling": ("net.py:build", {"net.py": "from layers import layer" + BUILD, "layers.py": LAYER}),
    "sibling in the factory": (
        "net.py:build",
        {
            "net.py": "def build(num_classes):\n    import layers\n    return layers.layer(num_classes)",
            "layers.py": LAYER,
        },
    ),
    "sibling of a sibling": (
        "net.py:build",
        {"net.py": "from other import layer" + BUILD, "other.py": "from layers import layer", "layers.py": LAYER},
    ),
    "sibling that imports the file": (
        "net.py:build",
        {
            "net.py": "SIZE = 4\nfrom layers import layer" + BUILD,
            "layers.py": LAYER + "import net\nassert net.SIZE == 4\n",
        },
    ),
    "sibling package": (
        "net.py:build",
        {"net.py": "from pkg.layers import layer" + BUILD, "pkg/__init__.py": "", "pkg/layers.py": LAYER},
    ),
    "sibling folder": ("net.py:build", {"net.py": "from pkg.layers import layer" + BUILD, "pkg/layers.py": LAYER}),
    "relative in a package": (
        "pkg/net.py:build",
        {"pkg/net.py": "from .layers import layer" + BUILD, "pkg/__init__.py": "", "pkg/layers.py": LAYER},
    ),
    "absolute in a package": (
        "pkg/net.py:build",
        {"pkg/net.py": "from pkg.layers import layer" + BUILD, "pkg/__init__.py": "", "pkg/layers.py": LAYER},
    ),
    "relative above": (
        "pkg/deep/net.py:build",
        {
            "pkg/deep/net.py": "from ..layers import layer" + BUILD,
            "pkg/__init__.py": "",
            "pkg/deep/__init__.py": "",
            "pkg/layers.py": LAYER,
        },
    ),
    "relative without a package": (
        "net.py:build",
        {"net.py": "from .layers import layer" + BUILD, "layers.py": LAYER},
    ),
    "name of an installed package": (
        "timm.py:build",
        {"timm.py": "import timm\ntimm.create_model" + "\n" + LAYER + BUILD},
    ),
    "sibling with the name of one": (
        "net.py:build",
        {"net.py": "from tests import layer" + BUILD, "tests.py": LAYER},
    ),
    "sibling with the name of a standard module": (
        "net.py:build",
        {"net.py": "import random\nrandom.random()\n" + LAYER + BUILD, "random.py": "1 / 0"},
    ),
    "path of its own": (
        "net.py:build",
        {
            "net.py": "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))\n"
            "from other import layer" + BUILD,
            "lib/other.py": LAYER,
        },
    ),
    "blank, accent and dash": (
        "été à-la mode.py:build",
        {"été à-la mode.py": "from layers import layer" + BUILD, "layers.py": LAYER},
    ),
    "dataclass": (
        "net.py:build",
        {
            "net.py": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            + LAYER
            + "@dataclass\nclass Config:\n    width: int = 4\n"
            + BUILD
        },
    ),
    "dataclass in a sibling": (
        "net.py:build",
        {
            "net.py": "from layers import layer" + BUILD,
            "layers.py": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            + LAYER
            + "@dataclass\nclass Config:\n    width: int = 4\n",
        },
    ),
    "class as factory": (
        "net.py:Net",
        {
            "net.py": "from torch import nn\n\nclass Net(nn.Linear):\n"
            "    def __init__(self, num_classes):\n        super().__init__(4, num_classes)\n"
        },
    ),
}


@pytest.mark.parametrize(("spec", "files"), FOUND.values(), ids=FOUND)
def test_a_file_is_loaded_as_its_author_runs_it(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, files: dict[str, str | bytes]
) -> None:
    # What the author's own `sys.path` finds is Python's to import, and to store; all else would be ours.
    monkeypatch.setattr(sys, "dont_write_bytecode", "sys.path" in str(files))
    write(tmp_path, files)
    first = load(plugins, tmp_path, spec)
    assert list(first.module.state_dict()) == ["weight", "bias"]
    assert first.code_path == str(tmp_path / spec.partition(":")[0])
    # Once more, in the same process: the same code has the same digest.
    assert load(plugins, tmp_path, spec).code_digest == first.code_digest
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize(
    "name",
    [
        "sibling",
        "sibling in the factory",
        "sibling of a sibling",
        "sibling package",
        "sibling folder",
        "relative in a package",
        "relative above",
        "relative without a package",
        "path of its own",
        "dataclass in a sibling",
        "sibling with the name of one",
    ],
)
def test_an_edit_of_any_module_that_was_imported_changes_the_digest(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spec, files = FOUND[name]
    # What the author's own `sys.path` finds is Python's to import, whose stored bytecode is one second coarse.
    monkeypatch.setattr(sys, "dont_write_bytecode", "sys.path" in str(files))
    write(tmp_path, files)
    before = load(plugins, tmp_path, spec)
    [edited] = [path for path, text in files.items() if "WIDTH" in str(text)]
    # The same size, and perhaps within the same tick of the clock: a cache of bytecode would not notice.
    write(tmp_path, {edited: str(files[edited]).replace("WIDTH = 4", "WIDTH = 5")})
    after = load(plugins, tmp_path, spec)
    assert after.module.in_features == 5
    assert after.code_digest != before.code_digest


def test_what_is_not_imported_does_not_count(plugins: Plugins, tmp_path: Path) -> None:
    spec, files = FOUND["sibling"]
    write(tmp_path, files)
    before = load(plugins, tmp_path, spec).code_digest
    write(tmp_path, {"other.py": "1 / 0", "weights.bin": b"\0", "pkg/data.json": "{}"})
    assert load(plugins, tmp_path, spec).code_digest == before
    # Nor does the place.
    write(tmp_path / "moved", files)
    assert load(plugins, tmp_path / "moved", spec).code_digest == before


def test_two_networks_may_each_have_a_module_of_the_same_name(plugins: Plugins, tmp_path: Path) -> None:
    spec, files = FOUND["sibling"]
    for width in (4, 7):
        write(tmp_path / str(width), files | {"layers.py": LAYER.replace("4", str(width))})
    for width in (4, 7, 4):
        assert load(plugins, tmp_path / str(width), spec).module.in_features == width


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (:", "invalid syntax"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("exit()", "NameError|SystemExit"),
        ("from layers import missing", "cannot import name 'missing'"),
        ("from .nowhere import x", "No module named"),
        ("from ... import x", "beyond top-level|No module named"),
        ("raise BaseExceptionGroup('x', [KeyError('y')])", "KeyError|ExceptionGroup"),
        ("x = b'\0'", "null bytes"),
        ("def build(num_classes):\n    raise SystemExit('no')", "SystemExit: no"),
        ("def build(num_classes):\n    return [num_classes]", "returned list, not a torch module"),
        ("def build():\n    return None", "returned NoneType"),
    ],
)
def test_a_file_that_fails_is_named(plugins: Plugins, tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, {"net.py": text, "layers.py": ""})
    with pytest.raises(PluginError, match=said) as caught:
        load(plugins, tmp_path, "net.py:build")
    assert "net.py" in caught.value.message


@pytest.mark.parametrize(
    ("spec", "said", "hint"),
    [
        ("net.py", "no factory in it", "net.py:small, net.py:large, net.py:Net"),
        ("net.py:smal", "no callable 'smal'", "net.py:small"),
        ("net.py:WIDTH", "no callable 'WIDTH'", "net.py:"),
        ("net.py:_hidden", "no callable '_hidden'", "net.py:"),
        ("none.py:build", "there is no file", ""),
        ("none.py", "no factory in it", "FILE.py:FACTORY"),
        ("net.py:needs", "cannot be called with", "--arch-option"),
    ],
)
def test_a_file_without_the_factory_says_which_it_has(
    plugins: Plugins, tmp_path: Path, spec: str, said: str, hint: str
) -> None:
    text = "WIDTH = 3\ndef small(): ...\ndef large(): ...\ndef _own(): ...\nclass Net: ...\n"
    write(tmp_path, {"net.py": text + ("def needs(width): ...\n" if "needs" in spec else "")})
    with pytest.raises(UsageError, match=said) as caught:
        load(plugins, tmp_path, spec)
    assert hint in caught.value.hint


def test_what_a_file_prints_or_sets_stays_its_own(
    plugins: Plugins, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    text = "import torch\nprint('loading')\ntorch.set_default_dtype(torch.float64)\n"
    write(tmp_path, {"net.py": text + LAYER + BUILD.replace("return", "print('building')\n    return")})
    load(plugins, tmp_path, "net.py:build")
    said = capsys.readouterr()
    assert (said.out, said.err.split()) == ("", ["loading", "building"])
    assert torch.get_default_dtype() == torch.float32


def test_a_failing_load_puts_everything_back(plugins: Plugins, tmp_path: Path) -> None:
    write(tmp_path, {"net.py": "import sys, tests\nsys.path.insert(0, 'x')\n1 / 0", "tests.py": ""})
    known = sys.modules["tests"]
    with pytest.raises(LedgerError):
        load(plugins, tmp_path, "net.py:build")
    assert sys.modules["tests"] is known


WRAPPED = """
import torch
from torch import nn


class FullyShardedDataParallel(nn.Module):
    pass


def network(n): return nn.Sequential(nn.Flatten(), nn.Linear(4, n))
def parallel(num_classes): return nn.DataParallel(network(num_classes))
def compiled(num_classes): return torch.compile(network(num_classes), backend="eager")
def both(num_classes): return torch.compile(nn.DataParallel(network(num_classes)), backend="eager")
def part(num_classes): return nn.Sequential(nn.Flatten(), nn.DataParallel(nn.Linear(4, num_classes)))
def sharded(num_classes): return nn.Sequential(FullyShardedDataParallel())
"""


@pytest.mark.parametrize("name", ["network", "parallel", "compiled", "both"])
def test_a_network_is_taken_out_of_its_wrapper(plugins: Plugins, tmp_path: Path, name: str) -> None:
    write(
        tmp_path,
        {"net.py": WRAPPED.replace("def network(n)", "def network(num_classes)").replace("4, n)", "4, num_classes)")},
    )
    network = build_network(plugins, Architecture(f"{tmp_path}/net.py:{name}", {}), 3)
    assert list(network.state()) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("part", "wraps a part of the network, 1, in DataParallel"), ("sharded", "spread over processes")],
)
def test_a_wrapper_inside_is_refused(plugins: Plugins, tmp_path: Path, name: str, said: str) -> None:
    write(tmp_path, {"net.py": WRAPPED})
    with pytest.raises(UnsupportedLayerError, match=said):
        build_network(plugins, Architecture(f"{tmp_path}/net.py:{name}", {}), 3)
