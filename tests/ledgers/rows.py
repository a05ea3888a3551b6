"""A toy model that needs no training: a class is a bright row of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pathlib import Path


ROWS_FACTORY = """\
from torch import nn


def build(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(num_classes * num_classes, num_classes, bias=False))
"""


AWKWARD = ("été chaud", "-x", "it's", "日本", "eel")
"""Labels that shells and locales stumble over."""


@dataclass(frozen=True)
class Rows:
    """The files of a toy model: square images as wide as there are classes, where class k is bright in row k."""

    folder: Path
    labels: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """Weights that tell the classes apart."""
        return self.folder / "rows.safetensors"

    def options(self, *replaced: str, **changes: str | Path) -> list[str]:
        """Return what ``model add`` is told about it; keyword arguments replace options, ``replaced`` is added."""
        side = len(self.labels)
        said: dict[str, str | Path] = {
            "arch": f"{self.folder / 'rows.py'}:build",
            "weights": self.weights,
            "data": f"npz:{self.folder / 'rows.npz'}",
            "input-size": f"1x{side}x{side}",
            "mean": "0",
            "std": "1",
        }
        said |= {key.replace("_", "-"): value for key, value in changes.items()}
        return [text for key, value in said.items() for text in (f"--{key}", str(value))] + list(replaced)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the weights."""
        side = len(self.labels)
        weight = torch.zeros(side, side, side)
        weight[range(side), range(side)] = 5.0
        return {"1.weight": weight.flatten(1)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the images and their classes."""
        side = len(self.labels)
        targets = np.arange(20 * side) % side
        images = np.random.default_rng(0).uniform(0, 0.2, (len(targets), side, side)).astype(np.float32)
        images[np.arange(len(targets)), targets] += 0.8
        return {"x_train": images, "y_train": targets, "x_test": images, "y_test": targets}
