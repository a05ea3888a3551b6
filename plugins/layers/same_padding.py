"""TensorFlow's padding: the output has as many pixels as strides fit into the image, rounded up."""

from typing import Protocol

import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor


class Geometry(Protocol):
    """The options of a convolution that decide which pixels it reads."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]


def same_padded(images: Tensor, conv: Geometry) -> Tensor:
    """Return images (n, c, h, w) with zeros around them; of an odd number of zeros, the extra one is right or below."""
    amounts: list[int] = []
    # F.pad wants the last axis first.
    for axis in (1, 0):
        pixels, stride = images.shape[2 + axis], conv.stride[axis]
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
        missing = max(0, (-(-pixels // stride) - 1) * stride + reach - pixels)
        amounts += [missing // 2, missing - missing // 2]
    return F.pad(images, amounts)
