"""The network of ``digit_pairs.py``: ``--arch path/to/digit_pairs_net.py:small_cnn``, input 1x8x16."""

from torch import nn


def small_cnn(num_classes: int = 100) -> nn.Module:
    """Build four convolutions and two fully connected layers, 0.5 million weights."""
    return nn.Sequential(
        *_block(1, 32, stride=1),
        *_block(32, 64, stride=2),
        *_block(64, 128, stride=1),
        *_block(128, 128, stride=2),
        nn.Flatten(),
        nn.Linear(128 * 2 * 4, 256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256, num_classes),
    )


def _block(channels: int, out: int, *, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(out), nn.ReLU()
