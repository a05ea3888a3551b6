"""What decides the last bits of a unit besides its inputs: releases, device and number of threads."""

from dataclasses import dataclass
from importlib.metadata import version

import torch

from ledger.errors import EngineLostError
from ledger.networks.device import choose_device


@dataclass(frozen=True)
class Surroundings:
    """Where a unit has to run so that it gives the bytes that it gives anywhere else of this kind."""

    release: str
    """Of unledger."""
    torch_release: str
    device: str
    """Kind of the device: of a processor with the instructions that torch uses on it, of a GPU its name."""
    threads: int
    """Number of threads inside the unit, whatever the number of processors there."""

    @classmethod
    def here(cls, device: torch.device) -> "Surroundings":
        """Return those of this process, with the number of threads that torch is set to."""
        return cls(version("unledger"), torch.__version__, device_kind(device), torch.get_num_threads())

    @property
    def kind(self) -> str:
        """The kind of device in one word that torch knows."""
        return self.device.partition(" ")[0]

    def enter(self) -> torch.device:
        """Set the number of threads, and return the device.

        Raises:
            EngineLostError: This is another kind of place: a result of it would have other last bits.
        """
        if self.kind == "cuda" and not torch.cuda.is_available():
            raise EngineLostError("a worker of the engine has no GPU, and the model is computed on one", HINT)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        device = choose_device(self.kind)
        here = Surroundings.here(device)
        if here != self:
            raise EngineLostError(
                f"a worker of the engine computes with {here.told}, and what hands out units with {self.told}: the "
                "last bits would differ",
                HINT,
            )
        return device

    @property
    def told(self) -> str:
        """A description for a person."""
        return f"unledger {self.release} and torch {self.torch_release} on {self.device}"


HINT = "let the engine have workers of one kind, with the same releases as the machine that hands out the work"


def device_kind(device: torch.device) -> str:
    """Return what has to be the same for the same bits, as far as a device tells."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
