"""Trace one forward pass and record how each parameter is used, down to the operators.

Neither the name of a module nor the number of dimensions says whether a parameter is a weight; only its use does. A
weight is multiplied with the features, a bias is added to them, a scale stretches them. So the trace sees every
operator of the pass. It follows tensors that are computed from parameters alone, because a weight may be standardised,
stacked or reshaped before it is used.

*Features* are all tensors that depend on the images. A tensor's *origin* is the set of parameters it is computed from.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_leaves

from .operators import ACCUMULATE, ADD, MATRIX_PRODUCT, MULTIPLY, RESHAPE, UseKind, fills, kind_of_use


@dataclass(frozen=True)
class ParameterUse:
    """One operator that reads a parameter together with features."""

    kind: UseKind
    inside: tuple[str, ...]
    """Names of the modules that were running, the outermost (the empty name) first."""


@dataclass(frozen=True)
class Dataflow:
    """How the parameters and the layers took part in a forward pass."""

    uses: Mapping[str, tuple[ParameterUse, ...]]
    """The uses of each parameter, by its first name."""
    calls: Mapping[str, None]
    """Names of the modules that were called, in the order of their first calls."""
    constant_layers: frozenset[str]
    """The given layers whose inputs are tokens and tables alone, and so the same for every image."""


_RECURRENT_USES = 3
"""A parameter that multiplies at least this often within one call of its module is the weight of a recurrence."""
Origin = frozenset[tuple[str, str]]
"""What a tensor is computed from: names of parameters, each with the part that was taken out of it."""
Operand = tuple[Any, Tensor, Origin | None]
"""A declared argument of an operator, a tensor given for it, and the tensor's origin; None for features."""
_NOTHING: tuple[Origin, None] = Origin(), None


def trace_dataflow(module: nn.Module, example: Tensor, layers: Iterable[str] = ()) -> Dataflow:
    """Run one example through a network and return how its parameters were used.

    The network does not change: hooks come off even on error.

    Args:
        module: The network, in evaluation mode.
        example: Preprocessed images (n, channels, height, width).
        layers: Names of the layers that a handler claims. Their outputs are not followed back to their weights, even
            where their inputs are tokens or tables alone.
    """
    tracer = _DataflowTracer(module)
    named = dict(module.named_modules(remove_duplicate=False))
    known = {named[name] for name in layers}
    names: dict[nn.Module, str] = {}
    for name, part in named.items():
        names.setdefault(part, name)
    hooks = []
    for part, name in names.items():
        if isinstance(part, torch.jit.ScriptModule):
            continue  # takes no hooks, but its operators are traced
        enter, leave = tracer.entering(name, layer=part in known), tracer.leaving(layer=part in known)
        hooks += [
            part.register_forward_pre_hook(enter, with_kwargs=True, prepend=True),
            part.register_forward_hook(leave, always_call=True),
        ]
    try:
        # Not in inference mode: there, composite operators reach the tracer in one piece.
        with torch.no_grad(), module_paths_only(), tracer:
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
    return Dataflow({name: tuple(uses) for name, uses in tracer.uses.items()}, tracer.calls, tracer.constant_layers)


@contextmanager
def module_paths_only() -> Iterator[None]:
    """Make attention and transformer layers call their modules one by one while the block runs.

    In evaluation mode torch would otherwise run fused kernels, which compute the same but call no module.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _DataflowTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows tensors that are computed from parameters alone; every other tensor counts as features."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: dict[str, list[ParameterUse]] = {name: [] for name, _ in module.named_parameters()}
        self.calls: dict[str, None] = {}
        self._layers: set[str] = set()
        self._seeing: set[str] = set()
        self._seen: list[bool] = []
        self._inside: list[tuple[str, dict[tuple[str, str], int]]] = []
        # By storage, so that a view has the origin of its base. The tensors are kept alive, since the place of a freed
        # storage may be reused.
        self._known: dict[int, tuple[Origin, Tensor]] = {}
        self._scaled: dict[int, tuple[Origin, Tensor]] = {}
        self._corrected: dict[int, tuple[Origin, Tensor]] = {}
        for _, buffer in module.named_buffers():
            self._know(buffer, frozenset())
        for part in module.modules():
            for value in vars(part).values():
                if isinstance(value, Tensor):
                    self._know(value, frozenset())
        # One storage may hold several parameters, as with recurrent layers on CUDA.
        self._parameters: dict[int, list[tuple[range, str]]] = {}
        self._sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
        for name, parameter in module.named_parameters():
            self._know(parameter, frozenset({(name, "")}))
            self._parameters.setdefault(_storage(parameter), []).append((_extent(parameter), name))

    @property
    def constant_layers(self) -> frozenset[str]:
        """The layers that were called, but never with features."""
        return frozenset(self._layers - self._seeing)

    def entering(self, name: str, *, layer: bool) -> Callable[..., None]:
        """Return a hook for the beginning of a module's call."""

        def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
            self.calls.setdefault(name)
            self._inside.append((name, {}))
            self._seen.append(False)
            if layer:
                self._layers.add(name)
                for value in tree_iter((args, kwargs)):
                    if isinstance(value, Tensor) and (origin := self._of(value)) is not None:
                        self._note(origin, UseKind.INPUT)
                    elif isinstance(value, Tensor):
                        self._seeing.add(name)
                        self._seen[-1] = True

        return enter

    def leaving(self, *, layer: bool) -> Callable[..., None]:
        """Return a hook for the end of a module's call."""

        def leave(_module: nn.Module, _args: Any, output: Any) -> None:
            self._inside.pop()
            seen = self._seen.pop()
            for value in tree_iter(output) if layer else ():
                if isinstance(value, Tensor):
                    # A layer turns a table into another table; its weight is used here and nowhere later.
                    self._known.pop(_storage(value), None)
                    if not seen:
                        self._know(value, Origin())

        return leave

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        operands = [
            (argument, tensor, self._of(tensor))
            for argument, value in _by_argument(func, args, kwargs)
            for tensor in tree_leaves(value)
            if isinstance(tensor, Tensor)
        ]
        # Before the operator runs: it may write into what it reads.
        met = any(origin is None and (t.is_floating_point() or t.is_complex()) for _, t, origin in operands)
        output = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_iter(output) if isinstance(leaf, Tensor)]
        whole = Origin().union(*(origin for _, _, origin in operands if origin))
        if not met or name == "lift_fresh":
            for tensor in outputs:
                self._know(tensor, whole)
            return output
        for argument, tensor, origin in operands:
            self._meet(name, argument.name, tensor, origin, alone=not whole)
            if argument.alias_info is not None and argument.alias_info.is_write:
                # What features were written into counts as features.
                self._known.pop(_storage(tensor), None)
        for tensor in outputs:
            self._known.pop(_storage(tensor), None)
            if name in MULTIPLY and whole:
                self._scaled[_storage(tensor)] = whole, tensor
            if corrected := self._corrected_by(name, operands, tensor):
                self._corrected[_storage(tensor)] = corrected, tensor
        return output

    def _meet(self, operator: str, argument: str, tensor: Tensor, origin: Origin | None, *, alone: bool) -> None:
        """Record the parameters that an operand brings into an operator.

        The operand is computed from them, or it is features that some parameters scaled or corrected before.

        Args:
            operator: Name of the operator.
            argument: Name of the argument that the operand is given for.
            tensor: The operand.
            origin: Its origin, if it is computed from parameters alone.
            alone: Whether the operator reads features alone.
        """
        if origin:
            self._note(origin, kind_of_use(operator, argument, tensor))
        elif operator in ACCUMULATE or argument == "exponent":
            self._note(self._scaled.get(_storage(tensor), _NOTHING)[0], UseKind.SCAN)
        elif operator in MATRIX_PRODUCT and alone:
            self._note(self._corrected.get(_storage(tensor), _NOTHING)[0], UseKind.PRODUCT)

    def _corrected_by(self, operator: str, operands: Iterable[Operand], output: Tensor) -> Origin:
        """Return the parameters that an operator adds to features entry by entry, as in ``W + f(x)``.

        If the sum is later multiplied with features, these parameters are weights.
        """
        if operator in RESHAPE:
            return Origin().union(*(self._corrected.get(_storage(t), _NOTHING)[0] for _, t, _ in operands))
        if operator not in ADD:
            return Origin()
        kernels = [(origin, t.numel()) for _, t, origin in operands if origin and fills(t, output)]
        # Factors that only stretch a table are fewer than its entries.
        return Origin(part for origin, size in kernels for part in origin if self._sizes[part[0]] >= size)

    def _note(self, origin: Origin, kind: UseKind) -> None:
        inside = tuple(name for name, _ in self._inside)
        for parameter, taken in origin:
            noted = kind
            if kind is UseKind.SCALE:
                owner = parameter.rpartition(".")[0]
                counts = next((c for name, c in reversed(self._inside) if name == owner), None)
                if counts is not None:
                    counts[parameter, taken] = counts.get((parameter, taken), 0) + 1
                    noted = UseKind.SCAN if counts[parameter, taken] >= _RECURRENT_USES else kind
            use = ParameterUse(noted, inside)
            if use not in self.uses[parameter]:
                self.uses[parameter].append(use)

    def _of(self, tensor: Tensor) -> Origin | None:
        """Return a tensor's origin; None for features and for every other unknown tensor."""
        found = self._known.get(_storage(tensor))
        if found is None:
            return None
        origin, whole = found
        own, held = _extent(tensor), self._parameters.get(_storage(tensor), ())
        if len(held) > 1:
            within = [name for extent, name in held if extent.start < own.stop and own.start < extent.stop]
            return frozenset((name, "") for name in within)
        if len(own) == len(_extent(whole)):
            return origin
        return frozenset((name, f"{taken}[{own.start}:{own.stop}]") for name, taken in origin)

    def _know(self, tensor: Tensor, origin: Origin) -> None:
        # The first tensor of a storage covers all of it; views come later. An empty origin may be filled in.
        known = self._known.get(_storage(tensor))
        if tensor.numel() and not (known and known[0]):
            self._known[_storage(tensor)] = origin, known[1] if known else tensor


def _by_argument(func: Any, args: Any, kwargs: Any) -> Iterator[tuple[Any, Any]]:
    """Yield an operator's declared arguments with the values given."""
    declared = func._schema.arguments  # noqa: SLF001 - the only place that names them
    yield from zip(declared, args, strict=False)
    named = {argument.name: argument for argument in declared}
    yield from ((named[name], value) for name, value in kwargs.items())


def _extent(tensor: Tensor) -> range:
    """Return the range of elements of its storage that a tensor spans."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return range(tensor.storage_offset(), tensor.storage_offset() + reach + 1)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - unlike its address, unique while it lives
