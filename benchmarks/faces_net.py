"""The network of ``faces.py``: ``--arch path/to/faces_net.py:small_cnn``, input 1x56x46."""

from torch import nn


def small_cnn(num_classes: int = 40) -> nn.Module:
    """Build four convolutions and two fully connected layers, 0.5 million weights."""
    return nn.Sequential(
        *_block(1, 16, stride=2),
        *_block(16, 32, stride=2),
        *_block(32, 64, stride=2),
        *_block(64, 64, stride=1),
        nn.Flatten(),
        nn.Linear(64 * 7 * 6, 128),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(128, num_classes),
    )


def _block(channels: int, out: int, *, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(out), nn.ReLU()
