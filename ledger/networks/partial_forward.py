"""Run only the last part of a network, from one of its layers on, with recorded outputs of what comes before.

Candidates that edit only the last layers share everything before the first edited layer with the registered network.
So that part runs once, its outputs are recorded, and each candidate runs only the rest.

This works without knowledge of the architecture. Modules that end before the layer begins are skipped: they return a
recorded output instead of computing it. Which of these outputs the rest really reads is found by experiment: an output
is not read if the network's answer stays the same with NaN or infinity in its place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

PROBES = (torch.nan, torch.inf, -torch.inf)
"""Values put in the place of a module's output, to see whether it is read. NaN spreads to everything computed from it;
the infinities change comparisons, which are always false for NaN."""
ROUNDING = 1e-2
"""How far, in shares of the largest value, activations may lie apart from those in another batch."""


class ForwardTrace:
    """One forward pass of a few images: when each module was called, how often, and what it returned.

    ``began`` and ``ended`` give the step at which a module's first call began and ended; steps count from 1.

    Args:
        module: The network, in evaluation mode.
        example: A few preprocessed images (n, channels, height, width).
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        self.module = module
        self._example = example
        self.began: dict[nn.Module, int] = {}
        self.ended: dict[nn.Module, int] = {}
        self.calls: dict[nn.Module, int] = {}
        self.outputs: dict[nn.Module, Any] = {}
        self.now = 0
        hooks = []
        for part in module.modules():
            hooks += [part.register_forward_pre_hook(self._enter), part.register_forward_hook(self._leave)]
        try:
            with torch.inference_mode():
                self.answer: Tensor = module(self.example)
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def example(self) -> Tensor:
        """The images; a copy, since a network may work in place."""
        return self._example.clone()

    def bytes_per_image(self, modules: Iterable[nn.Module]) -> int:
        """Return how many bytes the outputs of some modules take for one image."""
        outputs: list[Tensor] = [self.outputs[m] for m in modules]
        return sum(t.numel() * t.element_size() for t in outputs) // len(self._example)

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        self.now += 1
        self.began.setdefault(module, self.now)
        self.calls[module] = self.calls.get(module, 0) + 1

    def _leave(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        self.now += 1
        self.ended.setdefault(module, self.now)
        # A copy: the next module may work in place.
        self.outputs[module] = output.clone() if isinstance(output, Tensor) else output


class PartialForward:
    """Runs a network from a layer on.

    Args:
        trace: A forward pass through the whole network.
        start: The layer to start at.

    ``by_image`` says whether records of other batches can be put together, image by image, to what :meth:`run` takes;
    but for the modules in ``constant``, which return the same for all images.
    """

    def __init__(self, trace: ForwardTrace, start: nn.Module) -> None:
        self._module = trace.module
        with torch.inference_mode():
            # Other images in between: what a module keeps for a later call must not look like a result of this one.
            self._module(trace.example.flip(0))
        self._skipped = tuple(_ended_before(start, trace))
        # Rows of an output for each image: several where attention has split it into heads.
        self._rows = {m: _rows(trace.outputs[m], len(trace.example)) for m in self._skipped}
        self._shapes = {m: tuple(trace.outputs[m].shape[1:]) for m in self._skipped}
        self._boundary: tuple[nn.Module, ...] = self._find_boundary(trace) if self._skipped else ()
        for module in self._boundary:
            self._compute_again(module, trace)
        if self._boundary and not self._suits_other_batches(trace):
            self._boundary = ()
        self.by_image, self.constant = self._told_apart(trace)

    @property
    def boundary(self) -> tuple[nn.Module, ...]:
        """The skipped modules whose outputs the rest of the network reads; empty if nothing can be skipped."""
        return self._boundary

    def run(self, state: Mapping[str, Tensor], recorded: Sequence[Tensor], images: Tensor) -> Tensor:
        """Return the network's output under ``state`` for images whose boundary outputs were recorded.

        Args:
            state: The weights, by name, as :meth:`~ledger.networks.network.Network.prepare_weights` returns them.
                Before the layer they must be the weights that the record was made with.
            recorded: The output of each module of :attr:`boundary`, as :func:`record_outputs` returns it.
            images: The same images (n, channels, height, width); modules that are not skipped may read them.

        Returns:
            What the network returns, usually logits (n, classes).
        """
        outputs = dict(zip(self._boundary, recorded, strict=True))
        with torch.inference_mode(), self._returning(outputs, len(images)):
            answer: Tensor = functional_call(self._module, dict(state), (images,), tie_weights=False)
            return answer

    def _find_boundary(self, trace: ForwardTrace) -> tuple[nn.Module, ...]:
        """Return the skipped modules whose outputs are read; none if the network cannot start at the layer."""
        last = self._skipped[-1]
        if self._same((last,), trace):
            return (last,)
        # NaN alone finds nearly every output that is read, in a third of the passes; the result is checked with all.
        for probes in (PROBES[:1], PROBES):
            needed = tuple(
                m
                for m in self._skipped
                if not self._same([other for other in self._skipped if other is not m], trace, probes)
            )
            if self._same(needed, trace):
                return needed
        return ()

    def _compute_again(self, module: nn.Module, trace: ForwardTrace) -> None:
        """Compute what a module at the boundary returns, if that is cheap and what it reads is recorded anyway.

        A block of a transformer reads its input twice: as it is, and normalised. Recording it once takes half the room.
        """
        if any(parameter.ndim > 1 for parameter in module.parameters()):
            return
        before = self._skipped, self._boundary
        self._skipped, self._boundary = (tuple(m for m in some if m is not module) for some in before)
        if not self._boundary or not all(self._same(self._boundary, trace, p) for p in (PROBES[:1], PROBES[1:])):
            self._skipped, self._boundary = before

    def _suits_other_batches(self, trace: ForwardTrace) -> bool:
        """Whether it also works with another number of images than the trace has."""
        images = torch.cat([trace.example, trace.example[:1]])
        answer, recorded = record_outputs(self._module, self._boundary, images.clone())
        try:
            # Under its own weights.
            again = self.run({}, [recorded[m] for m in self._boundary], images)
        # As below: shapes that fit two images by chance can fail in any way.
        except Exception:  # noqa: BLE001
            return False
        return torch.equal(again, answer)

    def _told_apart(self, trace: ForwardTrace) -> tuple[bool, frozenset[nn.Module]]:
        """Tell how outputs at the boundary hang on images, by what a pass of one image alone records.

        Returns:
            Whether they hold the rows of one image after those of another, up to rounding, so that records of other
            batches can be put together; and which of them are left out of that, being the same for all images.
        """
        # Brighter, so that it is no other of the images.
        images = torch.cat([trace.example, trace.example[:1] + 1])
        try:
            (_, together), (_, alone) = (
                record_outputs(self._module, self._boundary, one.clone()) for one in (images, images[-1:])
            )
            constant = frozenset(m for m in self._boundary if torch.equal(together[m], alone[m]))
            rows = [_lies_by_image(together[m], alone[m], len(images)) for m in self._boundary if m not in constant]
        # A network may refuse such an image, or a single one; an output may be empty.
        except Exception:  # noqa: BLE001
            return False, frozenset()
        return all(rows), constant

    def _same(self, real: Sequence[nn.Module], trace: ForwardTrace, probes: Sequence[float] = PROBES) -> bool:
        """Whether the network returns the same when skipped modules but ``real`` return a probe."""
        known = {m: trace.outputs[m] for m in real}
        try:
            for probe in probes:
                example = trace.example
                with torch.inference_mode(), self._returning(known, len(example), probe):
                    if not torch.equal(self._module(example), trace.answer):
                        return False
        # A network that writes into a probe, or checks values, cannot start in the middle.
        except Exception:  # noqa: BLE001
            return False
        return True

    @contextmanager
    def _returning(self, outputs: Mapping[nn.Module, Tensor], images: int, probe: float = torch.nan) -> Iterator[None]:
        """Let skipped modules return recorded outputs, or a probe, while the block runs."""
        filler = torch.full((), probe)
        try:
            for m in self._skipped:
                known = outputs.get(m)
                # A probe takes no memory. A recorded output is copied: the next module may work in place.
                output = filler.expand(images * self._rows[m], *self._shapes[m]) if known is None else known
                m.forward = _constant(output, copied=known is not None)
            yield
        finally:
            for m in self._skipped:
                vars(m).pop("forward", None)


@contextmanager
def recording(modules: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Gather copies of what some modules return, while the block runs the network they are in."""
    kept: dict[nn.Module, Tensor] = {}
    hooks = [m.register_forward_hook(lambda m, _i, output: kept.update({m: output.clone()})) for m in set(modules)]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def record_outputs(
    module: nn.Module, recorded: Iterable[nn.Module], images: Tensor
) -> tuple[Tensor, dict[nn.Module, Tensor]]:
    """Run a network and record the outputs of some of its modules.

    Args:
        module: The network, in evaluation mode.
        recorded: The modules to record.
        images: Preprocessed images (n, channels, height, width).

    Returns:
        The network's output, and a copy of each module's output.
    """
    with recording(recorded) as kept, torch.inference_mode():
        return module(images), kept


def _lies_by_image(together: Tensor, alone: Tensor, images: int) -> bool:
    """Whether the last rows of what a batch records are what its last image records alone."""
    if not alone.ndim or len(together) != images * len(alone) or together.shape[1:] != alone.shape[1:]:
        return False
    most = float(alone.abs().amax())
    return torch.allclose(together[-len(alone) :], alone, rtol=ROUNDING, atol=ROUNDING * most)


def _constant(output: Tensor, *, copied: bool) -> Any:
    return lambda *_args, **_kwargs: output.clone() if copied else output


def _ended_before(start: nn.Module, trace: ForwardTrace) -> list[nn.Module]:
    """Return the outermost modules that are called once and end before ``start`` begins, in the order they end."""
    if trace.calls.get(start) != 1:
        return []
    found: set[nn.Module] = set()

    def visit(parent: nn.Module) -> None:
        for child in parent.children():
            over = trace.ended.get(child, trace.now + 1) < trace.began[start]
            replaceable = over and isinstance(trace.outputs[child], Tensor) and "forward" not in vars(child)
            if replaceable and trace.calls[child] == 1:
                found.add(child)
            else:
                visit(child)

    visit(trace.module)
    return sorted(found, key=lambda m: trace.ended[m])


def _rows(output: Tensor, images: int) -> int:
    return max(1, len(output) // images) if output.ndim else 1
