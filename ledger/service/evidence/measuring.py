"""Ask one evaluator: it gets figures that it cannot change, and what it returns is checked."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ledger.errors import PluginError
from ledger.hookspecs import EvaluationInput, Evaluator, Outputs
from ledger.plugin_manager import PluginInfo, guarded

from .metrics import MOST_BYTES, checked_metrics
from .time_limit import run_within


def measure(
    evaluator: Evaluator, info: PluginInfo, data: EvaluationInput, *, name: str, seconds: float | None = None
) -> dict[str, Any]:
    """Ask one evaluator, and return its metrics as plain JSON values.

    Args:
        evaluator: The evaluator.
        info: The plugin that offers it.
        data: What it may look at. It gets arrays of its own that share these values, read-only.
        name: The evaluator's name.
        seconds: Most seconds that it may take, in a process of its own; None runs it here, without a limit.

    Raises:
        PluginError: It failed, took too long, or returned something other than finite JSON values.
    """
    own = replace(
        data,
        train=_own(data.train),
        test=_own(data.test),
        base_train=_own(data.base_train),
        base_test=_own(data.base_test),
        anchor_train=None if data.anchor_train is None else _own(data.anchor_train),
        anchor_test=None if data.anchor_test is None else _own(data.anchor_test),
        networks=dict(data.networks),
    )
    culprit = f"evaluator {name} of plugin {info.name}"

    def ask() -> dict[str, Any]:
        # What evaluators draw depends on the seed alone, and not on who was asked before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            returned = guarded(lambda: evaluator.evaluate(own), culprit)
        return checked_metrics(returned, name, info.name, classes=len(data.labels))

    if seconds is None:
        return ask()
    answer = run_within(lambda: json.dumps(ask()).encode(), seconds, culprit, most_bytes=MOST_BYTES)
    try:
        metrics: dict[str, Any] = json.loads(answer)
    except ValueError as error:
        raise PluginError(f"{culprit} wrote into the answer of its process: {error}") from error
    return metrics


def read_only_outputs(labels: "np.ndarray[Any, Any]", answers: Tensor) -> Outputs:
    """Return labels (n,) and the softmax of logits (n, classes) in arrays that nobody can make writeable again."""
    probabilities = answers.double().softmax(dim=1).numpy()
    return Outputs(frozen(labels.astype(np.int64)), frozen(probabilities))


def frozen(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return a copy of an array that nobody can make writeable again."""
    # An array that owns its memory, or lies in a writeable one, can be made writeable again; one over bytes cannot.
    return np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)


def _own(outputs: Outputs) -> Outputs:
    """Return outputs with array objects of their own: a shape can be assigned even where values cannot."""
    return Outputs(_view(outputs.labels), _view(outputs.probabilities))


def _view(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    view = array.view() if _is_frozen(array) else frozen(array)
    view.flags.writeable = False
    return view


def _is_frozen(array: "np.ndarray[Any, Any]") -> bool:
    base: object = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return isinstance(base, bytes)
