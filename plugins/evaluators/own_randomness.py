"""Let torch draw from a seed of one's own, and leave the generator of everybody else as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_randomness(seed: int) -> Iterator[torch.Generator]:
    """Seed torch's global generator for a while, and yield another generator of the same seed.

    Dropout and freshly built layers draw from the global one, whatever they are told. Only the processor's is put back,
    since asking for others would start a graphics card, which a forked process cannot use. Gradients are computed
    within, whatever holds outside.

    Args:
        seed: The seed.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.enable_grad():
        # torch.manual_seed would seed every device.
        torch.default_generator.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
