"""How a convolution's input should lie on a processor: channels last, or plain, there and back included.

    python benchmarks/layouts.py [--images 32] [--repeats 9]

For each number of channels and width of a map, one 3x3 convolution of as many channels is timed both ways in turn. The
ratio is above 1 where plain is faster; ``ledger/networks/layouts.py`` says from which sizes on networks are run so.
``ONEDNN_MAX_CPU_ISA=AVX2`` in the environment shows an older processor.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from tables import markdown
from torch import Tensor

from ledger.networks.layouts import FEWEST_CHANNELS, LARGEST_MAP, channels_last

CHANNELS = (128, 256, 384, 512)
WIDTHS = (1, 2, 3, 4, 7, 14)
CALLS = 5
"""Convolutions timed together: one of a tiny map is over in a millisecond."""


def seconds(call: Callable[[], Tensor]) -> float:
    """Return the seconds of a few calls."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return time.perf_counter() - began


def ratio(channels: int, width: int, stride: int, images: int, repeats: int) -> float:
    """Return how many times faster the plain layout is: the median over repeats that take turns."""
    plain_kernel = torch.randn(channels, channels, 3, 3)
    last_kernel = channels_last(plain_kernel)
    given = channels_last(torch.randn(images, channels, width * stride, width * stride))

    def last() -> Tensor:
        return torch.conv2d(given, last_kernel, padding=1, stride=stride)

    def plain() -> Tensor:
        return channels_last(torch.conv2d(given.contiguous(), plain_kernel, padding=1, stride=stride))

    for call in (last, plain):
        seconds(call)
    return statistics.median(seconds(last) / seconds(plain) for _ in range(repeats))


def main() -> int:
    """Print one table for each stride."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print(f"networks are run plain from {FEWEST_CHANNELS} channels on, on maps of 2 to {LARGEST_MAP} pixels\n")
    with torch.inference_mode():
        for stride in (1, 2):
            ratios = {
                channels: [ratio(channels, width, stride, options.images, options.repeats) for width in WIDTHS]
                for channels in CHANNELS
            }
            rows = ([str(channels), *(f"{r:.2f}" for r in own)] for channels, own in ratios.items())
            print(markdown([f"channels, stride {stride}", *(f"map {width}" for width in WIDTHS)], rows), "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
