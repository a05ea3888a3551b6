"""How a network's tensors lie in memory: channels last, except around convolutions of many channels on tiny maps.

On processors convolutions, and pooling even more, run fastest on images that lie channels last. Not so where a map is
only a few pixels wide: oneDNN's kernel for channels last works along a line of pixels and is mostly idle on a line of
two or four. Its kernel for the plain layout is up to three times as fast there (``benchmarks/layouts.py``,
``docs/benchmarks.md``). So such layers get their input in the plain layout, and their output is put channels last
again.

*Plain* means torch's default order: all pixels of one channel, then the next channel.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

LARGEST_MAP = 4
"""Width, in pixels, of the largest output map that counts as tiny. Maps of one pixel do not."""
FEWEST_CHANNELS = 256
"""Input channels of each group from which the plain layout is worth the rearrangement."""


class Layout:
    """The layout of one network.

    Args:
        module: The network, which stays as it is until :meth:`apply`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.device = torch.device("cpu")
        self._plain: frozenset[str] = frozenset()
        self._hooks: list[RemovableHandle] = []

    def apply(self, device: torch.device) -> None:
        """Move the network to a device and lay it out there; on processors, hook what is computed plain."""
        self.device = device
        self._module.to(device)
        many = [part for part in self._module.modules() if device.type == "cpu" and _has_many_channels(part)]
        weights = {id(conv.weight) for conv in many}
        named = list(self._module.named_parameters(remove_duplicate=False))
        self._plain = frozenset(name for name, parameter in named if id(parameter) in weights)
        for name, tensor in (*named, *self._module.named_buffers(remove_duplicate=False)):
            tensor.data = self.arrange(name, tensor.data)
        while self._hooks:
            self._hooks.pop().remove()
        for conv in many:
            self._hooks += [conv.register_forward_pre_hook(_plain), conv.register_forward_hook(_channels_last)]

    def arrange(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the state dict as the settled network holds it."""
        return tensor.contiguous() if name in self._plain else channels_last(tensor)


def channels_last(tensor: Tensor) -> Tensor:
    """Return images or kernels with their channels last in memory; other tensors as they are."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def memory_order(tensor: Tensor) -> tuple[int, ...]:
    """Return the dimensions of a tensor, from the one whose neighbours lie furthest apart in memory."""
    strides = tensor.stride()
    # How far apart the neighbours of a dimension without neighbours would lie says nothing.
    return tuple(sorted(range(tensor.ndim), key=lambda d: (-strides[d], tensor.shape[d] == 1, d)))


def laid_out(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return a copy with its dimensions in memory in an order, as :func:`memory_order` tells it of another tensor.

    The strides are the same however the tensor lies, those of dimensions of size 1 too: kernels are chosen by them.
    """
    copy = torch.empty([tensor.shape[d] for d in order], dtype=tensor.dtype, device=tensor.device)
    return copy.permute([order.index(d) for d in range(len(order))]).copy_(tensor)


def _has_many_channels(part: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(part, nn.Conv2d)
        # A parametrized one has no weight of its own: it computes one in every pass.
        and "weight" in part._parameters  # noqa: SLF001
        and part.in_channels // part.groups >= FEWEST_CHANNELS
        and math.prod(part.kernel_size) > 1
    )


def _plain(conv: nn.Conv2d, args: tuple[Any, ...]) -> tuple[Tensor] | None:
    """Give a convolution a tiny map plain; leave every other call as it is."""
    if len(args) != 1 or not isinstance(args[0], Tensor) or args[0].ndim != 4:
        return None
    # Nearly all convolutions pad, so that the stride alone decides the size.
    width = math.ceil(args[0].shape[-1] / conv.stride[1])
    return (args[0].contiguous(),) if 1 < width <= LARGEST_MAP else None


def _channels_last(_conv: nn.Conv2d, _args: tuple[Any, ...], output: Any) -> Tensor | None:
    return channels_last(output) if isinstance(output, Tensor) else None
