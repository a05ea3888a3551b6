"""Take a network out of what runs it on several devices or compiles it."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ledger.errors import UnsupportedLayerError

PARALLEL = (DataParallel, DistributedDataParallel)
COMPILED = "torch._dynamo.eval_frame.OptimizedModule"
"""What ``torch.compile`` returns. By its name, since importing it takes a second."""
SHARDED = ("FullyShardedDataParallel", "FSDPModule", "DeepSpeedEngine", "PipelineStage")
"""Names of classes whose weights are spread over processes."""


def unwrapped(module: nn.Module, spec: str) -> nn.Module:
    """Return the network itself, which computes the same.

    Args:
        module: A network, perhaps in ``DataParallel``, ``DistributedDataParallel`` or ``torch.compile``.
        spec: What built it, for errors.

    Raises:
        UnsupportedLayerError: Its weights are spread over processes, or only a part of it is wrapped.
    """
    while isinstance(module, PARALLEL) or _is_compiled(module):
        module = module.get_submodule("module" if isinstance(module, PARALLEL) else "_orig_mod")
    for name, part in module.named_modules():
        kind = type(part)
        if any(base.__name__ in SHARDED for base in kind.__mro__):
            raise UnsupportedLayerError(
                f"{spec} returns a network with weights spread over processes: {name or 'it'} is a {kind.__name__}",
                "let the factory return the network itself",
            )
        if isinstance(part, PARALLEL):
            raise UnsupportedLayerError(
                f"{spec} wraps a part of the network, {name}, in {kind.__name__}, which cannot be looked into",
                f"let the factory build {name} without {kind.__name__}",
            )
    return module


def _is_compiled(module: nn.Module) -> bool:
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}" == COMPILED
