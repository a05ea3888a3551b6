"""Evaluators of outputs and features on a trained network, beside the same figures worked out without the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ledger.images.loading import load_images
from ledger.images.sampling import evaluation_samples
from ledger.service.computation.workbench import open_workbench
from ledger.service.evidence.evaluation import evaluate
from ledger.service.evidence.retrained import DeclaredRetrained
from ledger.service.progress import Silent
from ledger.weights import tensor_files
from tests.ledgers.desk import MODEL

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.ledgers.desk import Desk

NAMES = ("accuracy", "confusion", "divergence", "probe", "nearest_mean", "similarity")
FORGOTTEN = (3, 7)
PER_CLASS = 30


def measured(desk: Desk, **options: Any) -> dict[str, dict[str, Any]]:
    found = evaluate(desk.ledger, MODEL, 2, Silent(), only=NAMES, train_per_class=PER_CLASS, **options)
    return {name: evidence.metrics for name, evidence in found.evidence.items()}


def masked_original(desk: Desk, folder: Path) -> Path:
    """Write the registered weights with the outputs of the forgotten classes closed."""
    state = tensor_files.parse(desk.digits.weights.read_bytes(), "the weights")
    state["8.bias"] = state["8.bias"].index_fill(0, torch.tensor(FORGOTTEN), -1e4)
    file = folder / "masked.safetensors"
    file.write_bytes(tensor_files.serialise(state))
    return file


def test_what_probes_read_is_what_flows_into_the_last_layer(two_forgotten: Desk) -> None:
    metrics = measured(two_forgotten)["probe"]
    bench = open_workbench(two_forgotten.ledger, MODEL)
    features, labels = {}, {}
    bench.network.load(bench.weights(two_forgotten.live()), "version 2")
    below_the_last = torch.nn.Sequential(*list(bench.network.module.children())[:-1])
    for name, split, per_class in (("train", bench.source.train, PER_CLASS), ("test", bench.source.test, None)):
        chosen = evaluation_samples(split.labels, per_class, bench.model.settings.seed)
        images = load_images(split, chosen, bench.model.preprocessing)
        with torch.inference_mode():
            features[name] = below_the_last(images).double().numpy()
        labels[name] = np.asarray(split.labels)[chosen]
    scaler = StandardScaler().fit(features["train"])
    regression = LogisticRegression(max_iter=1000).fit(scaler.transform(features["train"]), labels["train"])
    correct = regression.predict(scaler.transform(features["test"])) == labels["test"]
    expected = [correct[labels["test"] == k].mean() for k in range(10)]
    # Features are read in other batches: an image on the border may fall on its other side.
    assert metrics["regularised"]["penultimate"]["version"]["per_class"] == pytest.approx(expected, abs=0.03)
    assert metrics["probe_images"] == 10 * PER_CLASS
    assert metrics["regularised"]["penultimate"]["original"]["forgotten"] > 0.9


def test_figures_beside_the_masked_original_itself_agree_with_those_beside_the_mask(
    two_forgotten: Desk, tmp_path: Path
) -> None:
    declared = DeclaredRetrained(masked_original(two_forgotten, tmp_path), "somebody who is mistaken")
    found = measured(two_forgotten, retrained=declared)
    accuracy, confusion, divergence = (found[name] for name in ("accuracy", "confusion", "divergence"))
    assert accuracy["loss_against_retrained"] == accuracy["loss_against_mask"]
    assert accuracy["retrained_test"] == accuracy["mask_test"]
    assert max(accuracy["base_test"]["per_class"][k] for k in FORGOTTEN) > 0.9
    for k in FORGOTTEN:
        went = confusion["went_to"][str(k)]
        assert went["retrained"] == went["masked_original"]
    assert confusion["row_cosine_retrained"] == confusion["row_cosine_masked"]
    for kind in ("kl", "js", "tv"):
        assert divergence[f"{kind}_retrained"] == pytest.approx(divergence[f"{kind}_masked"], abs=1e-9)
    # A mask leaves the features of the original as they were.
    for name, kind in (("probe", "regularised"), ("probe", "sgd"), ("nearest_mean", "depths")):
        for by_role in found[name][kind].values():
            assert by_role["retrained"] == by_role["original"]
    similarity = found["similarity"]
    assert similarity["cka_forgotten_retrained"] == pytest.approx(similarity["cka_forgotten_original"])
    assert 0 < similarity["cka_forgotten_original"] <= 1


def test_figures_are_the_same_again_and_in_a_process_of_their_own(two_forgotten: Desk) -> None:
    first = measured(two_forgotten)
    assert measured(two_forgotten) == first
    limited = measured(two_forgotten, time_limit=120)
    assert limited == first
