"""Count the images that pass through a network, forward and back: what a method costs, whatever the machine.

Every network of the same class counts, so that copies that a method makes for itself do too. A pass of only the last
layers (:class:`ledger.networks.partial_forward.PartialForward`) is counted apart: it is cheaper.
"""

from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


class PassCounter:
    """Counts while it is entered.

    Args:
        network: What kind of network counts; within one that runs, nothing is counted again.
    """

    def __init__(self, network: nn.Module) -> None:
        # By name: a network that is loaded from a file has a class of its own each time.
        self._kind = type(network).__qualname__
        self._inside = 0
        self._hooks: list[Any] = []
        self.forward = 0
        """Images that passed through the whole network."""
        self.partial = 0
        """Images that passed through its last layers only."""
        self.backward = 0
        """Images whose gradients were computed."""

    def __enter__(self) -> Self:
        """Begin to count."""
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            # Also where a forward pass fails, or everything after it would seem to be inside it.
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        for hook in self._hooks:
            hook.remove()

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if type(module).__qualname__ != self._kind:
            return
        self._inside += 1
        if self._inside > 1:
            return
        if any("forward" in vars(part) for part in module.modules()):
            self.partial += len(inputs[0])
        else:
            self.forward += len(inputs[0])

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if type(module).__qualname__ != self._kind:
            return
        self._inside -= 1
        if self._inside == 0 and isinstance(output, Tensor) and output.requires_grad:
            back: Any = output.register_hook  # torch gives it no types
            back(lambda _: self._back(len(inputs[0])))

    def _back(self, images: int) -> None:
        self.backward += images
