"""Try a network: is its answer for an image a function of that image alone?

All results rest on that. Class spaces are collected in one set of batches, candidates are judged in another, and a set
of classes must have one result whatever was asked for before. Dropout that stays on, batch normalisation without
running statistics, random crops in ``forward`` or a memory of earlier images would make a result depend on chance, or
on the images beside it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ledger.errors import ImpureNetworkError, NonFiniteError

from .network import Network

BATCH = 4
"""Images in a batch of the trial."""
IMAGES = 2 * BATCH - 1
"""Images that a trial needs for two batches with one image in common."""
TOLERANCE = 1e-4
"""Largest difference between an image's logits alone and in a batch, as a share of the batch's largest logit.

Libraries choose other kernels for other batch sizes, which add up in another order. Measured over all test networks of
timm and twelve families, float32: at most 7e-7 on a processor. Batch normalisation without running statistics is a
thousand times above the tolerance. The same batch twice, in contrast, must agree in every bit, and did everywhere.
"""
MOST_COMPARED = 2**14
"""Elements of one tensor that are compared to find the layer; evenly spread."""

ATTEMPTS = 10
"""Passes in search of a layer that answers by chance."""
LOST = "which layer it is could not be found out, since it did not happen again"


def require_function_of_image(network: Network, images: Tensor) -> None:
    """Check that a network answers the same for an image at any time, whatever images are beside it.

    Eighteen images pass through the network, and a few more if it is refused. The random generators of torch are as
    before afterwards.

    Args:
        network: In evaluation mode, with its weights. Nothing of it changes, unless it changes itself.
        images: Preprocessed images (n, channels, height, width). Of fewer than :data:`IMAGES`, mirrored ones are used
            as well.

    Raises:
        ImpureNetworkError: It does not; the message names the layer.
        NonFiniteError: Its answer holds NaN or infinity.
    """
    images = _enough(network.prepare_images(images))
    batch, other = images[:BATCH], torch.cat([images[:1], images[BATCH:IMAGES]])
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.inference_mode():
        answer = _logits(network.module, batch)
        if not torch.equal(_logits(network.module, batch), answer):
            raise _changing(network.module, batch)
        largest = float(answer.abs().max())
        beside = {0: _logits(network.module, other)[:1]}
        alone = {index: _logits(network.module, batch[index : index + 1]) for index in (0, BATCH - 1)}
        for found in (beside, alone):
            for index, one in found.items():
                difference = float((one - answer[index : index + 1]).abs().max())
                if difference > TOLERANCE * largest:
                    raise _influenced(network.module, batch, index, difference / largest)
        if not torch.equal(_logits(network.module, batch), answer):
            raise ImpureNetworkError(
                "the network answers differently for the same images after it has seen others: it remembers them",
                "make its forward method a function of its input and its weights",
            )


def _enough(images: Tensor) -> Tensor:
    while len(images) < IMAGES:
        # Mirrored, then turned upside down, then darker: other images, of the same kind.
        images = torch.cat([images, images.flip(-1), images.flip(-2), images * 0.5])
    return images[:IMAGES]


def _logits(module: nn.Module, images: Tensor) -> Tensor:
    """Return a network's answer (n, classes); it gets a copy, since it may work in place."""
    try:
        answer = module(images.clone())
    except Exception as error:
        raise ImpureNetworkError(
            f"the network cannot take {len(images)} images at once: {error}", "it must take batches of any size"
        ) from error
    if not isinstance(answer, Tensor) or answer.shape[:1] != images.shape[:1]:
        raise ImpureNetworkError(
            f"the network does not return one row of logits for each of {len(images)} images",
            "it must take batches of any size",
        )
    if not bool(torch.isfinite(answer).all()):
        raise NonFiniteError("the network answers NaN or infinity for an image of the data", "check the weights")
    return answer.clone()


def _changing(module: nn.Module, batch: Tensor) -> ImpureNetworkError:
    first = _record(module, batch)

    def differs(call: tuple[str, int], inputs: list[Tensor], outputs: list[Tensor]) -> bool:
        known = first.get(call)
        return known is not None and _same(known[0], inputs) and not _same(known[1], outputs)

    # A random choice among few can turn out the same by chance.
    found = next(filter(None, (_first(module, batch, differs) for _ in range(ATTEMPTS))), LOST)
    return ImpureNetworkError(
        f"the network does not answer the same for the same images: {found}",
        "turn off dropout and whatever else is random in evaluation mode",
    )


def _influenced(module: nn.Module, batch: Tensor, index: int, share: float) -> ImpureNetworkError:
    alone = _record(module, batch[index : index + 1], whole=True)

    def differs(call: tuple[str, int], inputs: list[Tensor], outputs: list[Tensor]) -> bool:
        known = alone.get(call)
        if known is None:
            return False
        before, after = (_farthest(known[part], given, index) for part, given in ((0, inputs), (1, outputs)))
        return before is not None and after is not None and before <= TOLERANCE < after

    found = _first(module, batch, differs) or LOST
    return ImpureNetworkError(
        f"the network's answer for an image depends on the other images of its batch, by {share:.1g} of the largest "
        f"logit: {found}",
        "for example, batch normalisation needs running statistics, and dropout must be off in evaluation mode",
    )


# -- find the layer -----------------------------------------------------------------------------------


def _record(
    module: nn.Module, images: Tensor, *, whole: bool = False
) -> Mapping[tuple[str, int], tuple[list[Tensor], list[Tensor]]]:
    """Return inputs and outputs of each call of each module, a sample of their elements unless ``whole``."""
    seen: dict[tuple[str, int], tuple[list[Tensor], list[Tensor]]] = {}
    keep = (lambda tensor: tensor.clone()) if whole else _sample

    def note(call: tuple[str, int], inputs: list[Tensor], outputs: list[Tensor]) -> None:
        seen[call] = [keep(one) for one in inputs], [keep(one) for one in outputs]

    _run(module, images, note)
    return seen


def _first(
    module: nn.Module, images: Tensor, differs: Callable[[tuple[str, int], list[Tensor], list[Tensor]], bool]
) -> str | None:
    """Run the network and name the module whose call is the first to end with another output for the same input."""
    found: list[str] = []

    def look(call: tuple[str, int], inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if not found and differs(call, inputs, outputs):
            found.append(call[0])

    _run(module, images, look)
    if not found:
        return None
    name, kind = found[0], type(module.get_submodule(found[0])).__name__
    return f"{f'layer {name}' if name else 'its own forward'} ({kind}) gives another output for the same input"


def _run(
    module: nn.Module, images: Tensor, look: Callable[[tuple[str, int], list[Tensor], list[Tensor]], None]
) -> None:
    """Run a network, and pass name, number, inputs and outputs of each module's call on as it ends."""
    begun: dict[nn.Module, list[list[Tensor]]] = {}
    calls: dict[str, int] = {}

    with ExitStack() as hooks:
        for name, part in module.named_modules():

            def enter(part: nn.Module, args: Any, kwargs: Any) -> None:
                # A copy: the module may work in place.
                begun.setdefault(part, []).append([one.clone() for one in _tensors((args, kwargs))])

            def leave(part: nn.Module, _args: Any, output: Any, name: str = name) -> None:
                calls[name] = calls.get(name, 0) + 1
                look((name, calls[name]), begun[part].pop(), list(_tensors(output)))

            hooks.callback(part.register_forward_pre_hook(enter, with_kwargs=True).remove)
            hooks.callback(part.register_forward_hook(leave).remove)
        module(images.clone())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _sample(tensor: Tensor) -> Tensor:
    """Return up to :data:`MOST_COMPARED` elements of a tensor, evenly spread."""
    flat = tensor.flatten()
    return flat[:: max(1, len(flat) // MOST_COMPARED)].clone()


def _same(known: list[Tensor], given: list[Tensor]) -> bool:
    """Whether samples are those of the tensors, bit for bit."""
    return len(known) == len(given) and all(
        torch.equal(one, _sample(other)) for one, other in zip(known, given, strict=True)
    )


def _farthest(alone: list[Tensor], batch: list[Tensor], index: int) -> float | None:
    """Return the largest relative difference between an image's tensors alone and in a batch.

    None if one of them cannot be told apart by image.
    """
    if len(alone) != len(batch):
        return None
    farthest = 0.0
    for one, several in zip(alone, batch, strict=True):
        own = _of_image(several, one.shape, index)
        if own is None:
            return None
        if one.numel():
            scale = float(one.abs().max().double()) if one.dtype != torch.bool else 1.0
            difference = float((one.double() - own.double()).abs().max())
            farthest = max(farthest, difference / scale if scale else float(difference > 0))
    return farthest


def _of_image(several: Tensor, shape: torch.Size, index: int) -> Tensor | None:
    """Return the part of a batch's tensor that belongs to one image, which alone has a tensor of this shape."""
    if several.shape == shape:
        return several
    if several.ndim != len(shape):
        return None
    differing = [d for d in range(len(shape)) if several.shape[d] != shape[d]]
    if len(differing) != 1 or several.shape[differing[0]] != BATCH * shape[differing[0]]:
        return None
    rows = shape[differing[0]]
    return several.narrow(differing[0], index * rows, rows)
