"""The names under which built-in plugins stand in evidence and certificates: modules may move, these names stay."""

from importlib.metadata import version

import numpy as np
import pytest

from ledger.hookspecs import EvaluationInput, Outputs
from ledger.plugin_manager import build_plugins

PLUGINS = [
    *("models_timm", "models_torchvision", "models_published", "models_recognised", "models_import"),
    *("data_digits", "data_digit_pairs", "data_folder", "data_npz", "data_csv", "data_wds"),
    *("data_parquet", "data_hfds", "data_torchvision"),
    *("layers_linear", "layers_conv", "layers_conv1d", "layers_conv3d", "layers_conv_same", "layers_conv_transpose"),
    *("layers_std_conv", "layers_cond_conv", "layers_attention", "layers_timm_attention", "layers_window_attention"),
    *("layers_additive_attention", "layers_recurrent"),
    *("solver_redirect", "solver_projection", "solver_least_squares"),
    *("eval_accuracy", "eval_confusion", "eval_divergence", "eval_membership"),
    *("eval_probe", "eval_nearest_mean", "eval_similarity"),
    *("eval_rmia", "eval_neighbours", "eval_relearning", "eval_statistics", "eval_saliency"),
    *("executor_local", "executor_processes", "executor_ray", "executor_dask"),
    *("export_folder", "export_mlflow"),
]
DEFAULT = ("accuracy", "confusion", "divergence", "membership")


def test_plugins_have_their_recorded_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEDGER_PLUGINS", "")
    infos = build_plugins().infos
    assert [info.name for info in infos] == PLUGINS
    assert {(info.version, info.builtin, info.error) for info in infos} == {(version("unledger"), True, None)}


def test_evaluators_are_recorded_with_the_plugins_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEDGER_PLUGINS", "")
    offered = build_plugins().evaluators()
    # Levels of evidence count only what bears its own name.
    assert [info.name for _, info in offered.values()] == [name for name in PLUGINS if name.startswith("eval_")]
    assert {name: f"eval_{name}" for name in offered} == {name: info.name for name, (_, info) in offered.items()}
    assert tuple(n for n, (one, _) in offered.items() if getattr(one, "by_default", True)) == DEFAULT


def test_no_two_evaluators_have_a_figure_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditions of gates name a figure alone, and must mean one evaluator by it."""
    monkeypatch.setenv("UNLEDGER_PLUGINS", "")
    shares = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    answers = Outputs(np.array([0, 1, 2]), shares)
    data = EvaluationInput(("cat", "dog", "eel"), frozenset({2}), answers, answers, answers, answers, seed=0)
    metrics = {name: one.evaluate(data) for name, (one, _) in build_plugins().evaluators().items()}
    figures = [
        name for found in metrics.values() for name, value in found.items() if not isinstance(value, str | list | dict)
    ]
    assert "probe_gap" in figures
    assert sorted(figures) == sorted(set(figures))
