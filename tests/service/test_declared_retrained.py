"""Weights declared as retrained: believed on somebody's word, checked for what can be checked, recorded as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from ledger.digest import sha256_hex
from ledger.domain.levels import EvidenceLevel
from ledger.errors import NotFoundError, RefusedError, WeightsError
from ledger.service.evidence.evaluation import evaluate
from ledger.service.evidence.retrained import DeclaredRetrained
from ledger.service.progress import Silent
from ledger.service.versions.export import export
from ledger.weights import tensor_files
from tests.ledgers.desk import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from tests.ledgers.desk import Desk


def registered(desk: Desk) -> dict[str, Tensor]:
    return tensor_files.parse(desk.digits.weights.read_bytes(), "the weights")


def never_answering(desk: Desk, *classes: int) -> dict[str, Tensor]:
    """Stand in for a network that was trained without some classes: it never answers them."""
    state = registered(desk)
    bias = state["8.bias"].clone()
    bias[list(classes)] = -1e4
    return state | {"8.bias": bias}


def written(folder: Path, state: dict[str, Tensor]) -> Path:
    file = folder / "retrained.safetensors"
    file.write_bytes(tensor_files.serialise(state))
    return file


def test_a_declared_network_is_recorded_with_who_declared_it(two_forgotten: Desk, tmp_path: Path) -> None:
    file = written(tmp_path, never_answering(two_forgotten, 3, 7))
    found = evaluate(
        two_forgotten.ledger, MODEL, 2, Silent(), only=["accuracy"], retrained=DeclaredRetrained(file, "training team")
    )
    evidence = found.evidence["accuracy"]
    assert evidence.provenance.retrained == sha256_hex(file.read_bytes())
    assert evidence.provenance.declared_by == "training team"
    # It is still a comparison with the original, which knew the classes.
    assert evidence.provenance.against == "base"
    assert evidence.metrics["base_test"]["per_class"][3] > 0.9
    assert found.standing.beside_retrained == {"accuracy": evidence}
    assert found.standing.level < EvidenceLevel.RETRAINED


def test_a_network_that_knows_a_forgotten_class_is_refused(two_forgotten: Desk, tmp_path: Path) -> None:
    file = written(tmp_path, never_answering(two_forgotten, 3))
    with (
        two_forgotten.unchanged(),
        pytest.raises(RefusedError, match=r"recognises 7 in .* of .* test images") as refused,
    ):
        evaluate(two_forgotten.ledger, MODEL, 2, Silent(), retrained=DeclaredRetrained(file, "x"))
    assert refused.value.exit_code == 7


def test_versions_of_the_model_itself_are_refused(two_forgotten: Desk, tmp_path: Path) -> None:
    export(two_forgotten.ledger, MODEL, 2, tmp_path / "export")
    exported = tmp_path / "export" / "model.safetensors"
    renamed = tmp_path / "renamed.safetensors"
    state = tensor_files.parse(exported.read_bytes(), "the export")
    # Other bytes, the same tensors.
    save_file(state, renamed, metadata={"trained": "without the classes"})
    assert renamed.read_bytes() != exported.read_bytes()
    original = tmp_path / "original.safetensors"
    save_file(registered(two_forgotten), original, metadata={"n": "1"})
    for file, number in ((exported, 2), (renamed, 2), (original, 0), (two_forgotten.digits.weights, 0)):
        with two_forgotten.unchanged(), pytest.raises(RefusedError, match=f"version {number} of {MODEL} itself"):
            evaluate(two_forgotten.ledger, MODEL, 2, Silent(), retrained=DeclaredRetrained(file, "x"))


def test_what_does_not_fit_or_is_not_there_is_refused(two_forgotten: Desk, tmp_path: Path) -> None:
    empty = written(tmp_path, {"x": torch.zeros(1)})
    for file, error in ((empty, WeightsError), (tmp_path / "nothing", NotFoundError)):
        with two_forgotten.unchanged(), pytest.raises(error):
            evaluate(two_forgotten.ledger, MODEL, 2, Silent(), retrained=DeclaredRetrained(file, "x"))


def test_evidence_is_that_of_the_weights_under_whichever_number(two_forgotten: Desk) -> None:
    measured = evaluate(two_forgotten.ledger, MODEL, 1, Silent(), only=["accuracy"])
    back = two_forgotten.roll_back(1)
    assert (back.number, back.weights) == (3, measured.version.weights)
    with two_forgotten.ledger.database.read() as tx:
        assert tx.versions.evidence(back) == measured.evidence
        assert tx.versions.evidence(two_forgotten.versions()[2]) == {}
