"""A model computes with the code that it was registered with, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from ledger.digest import sha256_hex
from ledger.errors import CodeError
from tests.ledgers.rows import ROWS_FACTORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.command_line import Cli
    from tests.ledgers.rows import Rows

EDITED = ROWS_FACTORY + "# edited\n"
FLIPPED = (
    ROWS_FACTORY.replace("bias=False)", "bias=False), Flip()")
    + """

class Flip(nn.Module):
    def forward(self, x):
        return x.flip(1)
"""
)


@pytest.mark.parametrize(
    "command",
    [("preview", "pets", "-c", "dog"), ("evaluate", "pets:0"), ("model", "coverage", "pets")],
    ids=lambda command: " ".join(command[:2]),
)
@pytest.mark.parametrize(
    "text",
    [EDITED, ROWS_FACTORY.replace("\n", "\r\n"), ROWS_FACTORY.replace("bias=False", "bias=False ")],
    ids=["comment", "ends of lines", "one blank"],
)
def test_nothing_computes_with_other_code(pets: Cli, rows: Rows, command: tuple[str, ...], text: str) -> None:
    file = rows.folder / "rows.py"
    file.write_bytes(text.encode())
    said = pets.refused(CodeError, 7, *command).err
    for part in (str(file), sha256_hex(ROWS_FACTORY.encode()), sha256_hex(file.read_bytes()), "model rebind pets"):
        assert part in said
    file.write_text(ROWS_FACTORY)
    pets(*command)


def test_a_request_waits_for_the_code_that_was_registered(pets: Cli, rows: Rows) -> None:
    file = rows.folder / "rows.py"
    file.write_text(EDITED)
    answer = pets("forget", "pets", "-c", "dog", "--wait", code=7)
    assert type(answer.error) is CodeError
    assert pets.state(1) == "failed"
    assert [version["version"] for version in pets.versions("pets")] == [0]
    file.write_text(ROWS_FACTORY)
    pets("request", "retry", "1")
    pets("work")
    assert pets.state(1) == "fulfilled"


@pytest.mark.parametrize("gone", ["moved", "renamed factory"])
def test_code_that_is_not_where_it_was_fails_the_request_with_the_way_on(pets: Cli, rows: Rows, gone: str) -> None:
    file = rows.folder / "rows.py"
    if gone == "moved":
        (rows.folder / "new").mkdir()
        file.rename(rows.folder / "new" / "rows.py")
    else:
        file.write_text(ROWS_FACTORY.replace("build", "make"))
    answer = pets("forget", "pets", "-c", "dog", "--wait", code=7)
    assert type(answer.error) is CodeError
    said = answer.err
    assert "the network of pets cannot be built any more: " in said
    assert "model rebind pets --arch FILE.py:factory" in said
    assert "request retry 1" in said
    assert pets.state(1) == "failed"
    if gone == "moved":
        bound = pets("model", "rebind", "pets", "--arch", f"{rows.folder}/new/rows.py:build")
        assert "request retry 1" in bound.err
        pets("request", "retry", "1")
        pets("work")
        assert pets.state(1) == "fulfilled"


def test_other_code_is_accepted_with_its_accuracy(pets: Cli, rows: Rows) -> None:
    file = rows.folder / "rows.py"
    file.write_text(EDITED)
    said = pets("model", "rebind", "pets", "--accept-changes", "a comment").err
    assert "accuracy now, with nothing forgotten: 100.0% of " in said
    assert "warning:" not in said
    file.write_text(FLIPPED)
    said = pets("model", "rebind", "pets", "--accept-changes", "other outputs").err
    assert "warning: accepted although the labels are not in the order of the network's outputs" in said


def test_a_module_beside_the_file_counts_as_well(empty: Cli, rows: Rows, tmp_path: Path) -> None:
    (rows.folder / "layers.py").write_text(ROWS_FACTORY.replace("build", "layers"))
    (rows.folder / "net.py").write_text("from layers import layers as build\n")
    empty("model", "add", "pets", *rows.options(arch=f"{rows.folder}/net.py:build"))
    empty("preview", "pets", "-c", "dog")
    (rows.folder / "layers.py").write_text(EDITED.replace("build", "layers"))
    assert "modules that it imports" in empty.refused(CodeError, 7, "preview", "pets", "-c", "dog").err


PARALLEL = """
from __future__ import annotations

from dataclasses import dataclass

from layers import head
from torch import nn


@dataclass
class Options:
    bias: bool = False


def build(num_classes):
    return nn.DataParallel(nn.Sequential(nn.Flatten(), head(num_classes, Options())))
"""
HEAD = """
from torch import nn


def head(classes, options):
    return nn.Linear(classes * classes, classes, bias=options.bias)
"""


def test_a_parallel_network_with_modules_beside_it_forgets(empty: Cli, rows: Rows) -> None:
    """Weights as its training wrote them are converted, registered and worked on, by commands alone."""
    (rows.folder / "my net.py").write_text(PARALLEL)
    (rows.folder / "layers.py").write_text(HEAD)
    saved, weights = rows.folder / "last.pth.tar", rows.folder / "last.safetensors"
    torch.save({"state_dict": {"module.1.weight": rows.state()["1.weight"]}, "epoch": 3}, saved)
    said = empty("weights", "convert", str(saved), str(weights)).err
    assert "of state_dict of" in said
    assert "taken off the names: module." in said
    assert "left out: epoch" in said
    empty("model", "add", "pets", *rows.options(arch=f"{rows.folder}/my net.py:build", weights=weights))
    empty("forget", "pets", "-c", "dog", "--wait")
    assert [version["version"] for version in empty.versions("pets")] == [0, 1]
