"""The released procedure of "Deep Unlearning", in our own words: what speed and memory are compared with.

Source: Kodge, Saha, Roy, arXiv 2312.00761, section 4, with the choices of the authors' published code for CIFAR-10:
900 retain and 900 forget images, fixed alphas, one random crop of a convolution's input, at most 10,000 patches of
it, and a thin singular value decomposition for each layer and each of the two sets.

The published code decomposes each layer's input in the middle of one forward pass of all images. Here images pass in
batches that leave only the sampled rows behind; a set's rows of all layers are kept to the end of its pass, and each
layer's are freed once decomposed. Elsewhere the cheaper way is taken where that code does more than it must.

Shapes: ``n`` rows, ``i`` inputs of a layer's weight, ``b`` images of a batch, ``p`` patches of an image.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor, nn


@dataclass(frozen=True)
class ReferenceResult:
    """An edited state dict, and the wall-clock seconds that each phase took."""

    state: dict[str, Tensor]
    seconds: dict[str, float]
    """``forward`` (both sets, rows sampled), ``svd`` (with the scaled projections) and ``project``."""


@dataclass
class _Recorder:
    """A forward pre-hook that keeps the sampled input rows of one layer, for all batches of a set of images."""

    layer: nn.Conv2d | nn.Linear
    images: int
    crop: int
    max_patches: int
    generator: torch.Generator
    rows: Tensor | None = None
    chosen: Tensor | None = None
    corner: list[int] | None = None
    passed: int = 0

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Keep what is sampled of a batch."""
        batch: Tensor = inputs[0]
        linear = isinstance(self.layer, nn.Linear)
        rows = (batch if linear else self._patches(batch)).flatten(0, -2)
        if self.rows is None or self.chosen is None:
            count = len(rows) // len(batch) * self.images
            drawn = torch.randperm(count, generator=self.generator)[: count if linear else self.max_patches]
            self.chosen = drawn.to(rows.device)
            self.rows = rows.new_empty(len(drawn), rows.shape[1])
        inside = (self.chosen >= self.passed) & (self.chosen < self.passed + len(rows))
        # A copy: the next layer may work in place.
        self.rows[inside] = rows[self.chosen[inside] - self.passed]
        self.passed += len(rows)

    def _patches(self, batch: Tensor) -> Tensor:
        """Return the patches (b, p, i) of the crop of a batch (b, c, h, w)."""
        conv = self.layer
        if not isinstance(conv, nn.Conv2d) or conv.groups != 1 or isinstance(conv.padding, str):
            raise ValueError("the released procedure knows neither groups nor padding by name")
        height, width = (min(s, self.crop * k) for s, k in zip(batch.shape[2:], conv.kernel_size, strict=True))
        if self.corner is None:
            # One place for all images of the set.
            places = batch.shape[2] - height + 1, batch.shape[3] - width + 1
            self.corner = [int(torch.randint(n, (), generator=self.generator)) for n in places]
        window = batch.narrow(2, self.corner[0], height).narrow(3, self.corner[1], width)
        # The published code pads the crop as the layer pads the whole map: in the middle of a map this puts zeros
        # where the network sees neighbours. Wrong, but part of the procedure.
        return F.unfold(window, conv.kernel_size, conv.dilation, conv.padding, conv.stride).transpose(1, 2)


def _scaled_projection(rows: Tensor, alpha: float) -> Tensor:
    """Return ``P = U diag(lambda) U^T`` (i, i) of input rows (n, i): section 4, importance scaling."""
    u, sigma, _ = torch.linalg.svd(rows.T, full_matrices=False)
    shares = sigma.square() / sigma.square().sum()
    importance = alpha * shares / ((alpha - 1) * shares + 1)
    # The published code multiplies by a dense diagonal matrix; scaling the columns is the same, sooner.
    return torch.mm(u * importance, u.T)


@torch.no_grad()
def unlearn(
    module: nn.Module,
    retain: Tensor,
    forget: Tensor,
    *,
    alpha_r: float = 100.0,
    alpha_f: float = 3.0,
    crop: int = 3,
    max_patches: int = 10_000,
    seed: int = 0,
    batch_size: int = 128,
    only: Collection[str] | None = None,
) -> ReferenceResult:
    """Forget what ``forget`` shows: ``W <- W (I - P_f + P_f P_r)^T`` for every convolution and linear layer.

    Args:
        module: The network, in eval mode, each layer used once. It is not changed.
        retain: Images of the classes to keep, shape (images, c, h, w); the published protocol takes 900.
        forget: Images of the class to forget, likewise.
        alpha_r: Importance scale of the retain space.
        alpha_f: Importance scale of the forget space.
        crop: Largest side of a crop, in kernels.
        max_patches: Most patches kept of a convolution's input, for each set.
        seed: Decides crops and patches, which the published code leaves to chance.
        batch_size: Images passed at once; the edit depends on it in rounding only.
        only: Names of the layers to edit; None: all. The others change nothing about a layer's edit but what is drawn.

    Raises:
        ValueError: The module is in training mode, or a layer has groups, is padded by name or did not run.
    """
    if any(part.training for part in module.modules()):
        raise ValueError("the network must be in eval mode: a forward pass would change its statistics")
    layers = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear) and (only is None or name in only)
    }
    generator = torch.Generator().manual_seed(seed)
    seconds = dict.fromkeys(("forward", "svd", "project"), 0.0)

    def projections(images: Tensor, alpha: float) -> dict[str, Tensor]:
        began = time.perf_counter()
        recorders = {n: _Recorder(layer, len(images), crop, max_patches, generator) for n, layer in layers.items()}
        hooks = [layer.register_forward_pre_hook(recorders[name]) for name, layer in layers.items()]
        try:
            for start in range(0, len(images), batch_size):
                module(images[start : start + batch_size])
        finally:
            for hook in hooks:
                hook.remove()
        collected = time.perf_counter()
        scaled = {}
        for name in layers:
            rows = recorders.pop(name).rows
            if rows is None:
                raise ValueError(f"{name} did not run")
            scaled[name] = _scaled_projection(rows, alpha)
        seconds["forward"] += collected - began
        seconds["svd"] += time.perf_counter() - collected
        return scaled

    p_r, p_f = projections(retain, alpha_r), projections(forget, alpha_f)
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    began = time.perf_counter()
    for name in layers:
        weight, removed = state[f"{name}.weight"], p_f.pop(name)
        identity = torch.eye(len(removed), dtype=removed.dtype, device=removed.device)
        edit = identity - (removed - removed @ p_r.pop(name))
        state[f"{name}.weight"] = (weight.flatten(1) @ edit.T).view_as(weight)
    seconds["project"] = time.perf_counter() - began
    return ReferenceResult(state, seconds)
