"""Which architectures have weights of given names and shapes: found in a list, then held against the network itself.

The list has a fingerprint for each architecture of timm and torchvision. It leaves out what differs between networks of
one architecture: the number of classes, the channels of an image, and tables whose size follows that of the image. So
several architectures may share one, and an entry is only a guess until the network was built and compared. It was
written by ``benchmarks/architecture_index.py``; other releases of the libraries may know more.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

FILE = "architectures.txt"
COUNTER = "num_batches_tracked"
OF_CLASSES = re.compile(r"^(head|fc|classifier|last|logits|cls|aux|output)")
"""Beginnings of the names of layers whose outputs are classes, or that are there for training only."""
OF_IMAGE_SIZE = re.compile(r"pos_embed|position|attn_mask|rope|freqs|rel_pos|attention_bias|k_bias|\.index|_idx")
"""Names of tables whose size follows that of the image."""
LENGTH = 12
"""Hexadecimal digits of a fingerprint: enough to tell a few thousand architectures apart."""

Shapes = Mapping[str, tuple[int, ...]]


def fingerprint(shapes: Shapes) -> str:
    """Return the fingerprint of a network's weights, by name.

    Args:
        shapes: Shape of each parameter and buffer.
    """
    lines = [f"{name} {_kept(name, shape)}" for name, shape in sorted(shapes.items()) if not name.endswith(COUNTER)]
    return hashlib.sha256("\n".join(lines).encode(errors="backslashreplace")).hexdigest()[:LENGTH]


def _kept(name: str, shape: tuple[int, ...]) -> str:
    if OF_CLASSES.search(name) or OF_IMAGE_SIZE.search(name):
        return ""
    # The second dimension of a convolution's weight is the channels of what it sees, perhaps those of the image.
    return "x".join(map(str, (shape[0], *shape[2:]) if len(shape) > 2 else shape))


@cache
def _index() -> Mapping[str, tuple[str, ...]]:
    text = files(__package__ or "").joinpath(FILE).read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {first: tuple(rest) for first, *rest in lines}


def candidates(shapes: Shapes) -> tuple[str, ...]:
    """Return the architectures, as ``timm/ARCH`` or ``torchvision/NAME``, whose weights look like these."""
    return _index().get(fingerprint(shapes), ())
