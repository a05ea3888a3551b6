"""Run a network from one of its layers on, for images whose way to that layer has been recorded.

Candidates that edit only the last layers differ from the registered network only there, so the way to the
first edited layer is walked once for all of them. Nothing of an architecture need be known: modules that are
over before the layer begins are answered from the record, and which of those answers the rest really
reads is found by asking with NaN and infinities in the place of each.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

NONSENSE = (torch.nan, torch.inf, -torch.inf)
"""Stand-ins: NaN shows in whatever is computed of it, the infinities in comparisons, which NaN never passes."""


class ForwardTrace:
    """One pass of a few images: when each module's first call began and ended, how often it was called, what it said.

    Args:
        module: The network, in evaluation mode.
        example: Preprocessed images, to see which way they go.
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
        """Return how much memory the outputs of some modules take."""
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
    """Knows how to enter a network at a layer.

    Args:
        trace: How images pass through the network.
        start: The layer to enter at.
    """

    def __init__(self, trace: ForwardTrace, start: nn.Module) -> None:
        self._module = trace.module
        with torch.inference_mode():
            # Other images in between: what a module keeps on the side for later must not look like an answer.
            self._module(trace.example.flip(0))
        self._skipped = tuple(_over_before(start, trace))
        # Rows of an answer for each image: what attention has split into heads has several.
        self._rows = {m: _rows(trace.outputs[m], len(trace.example)) for m in self._skipped}
        self._boundary: tuple[nn.Module, ...] = self._find_boundary(trace) if self._skipped else ()
        if self._boundary and not self._suits_other_batches(trace):
            self._boundary = ()

    @property
    def boundary(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs :meth:`run` needs recorded; none if nothing can be skipped."""
        return self._boundary

    def run(self, state: Mapping[str, Tensor], recorded: Sequence[Tensor], images: Tensor) -> Tensor:
        """Return the network's answer under ``state`` for images that were recorded.

        Args:
            state: Before the layer, the weights that the record was made with. What a module holds has one name, as
                :meth:`~ledger.networks.network.Network.prepare_weights` gives it.
            recorded: An output of each of :attr:`boundary`, as :func:`record_outputs` returns them.
            images: The images themselves, which only their number and what nobody skips is read of.
        """
        answers = dict(zip(self._boundary, recorded, strict=True))
        with torch.inference_mode(), self._answering(answers, len(images)):
            answer: Tensor = functional_call(self._module, dict(state), (images,), tie_weights=False)
            return answer

    def _find_boundary(self, trace: ForwardTrace) -> tuple[nn.Module, ...]:
        """Return the skipped modules whose outputs reach the answer; none if the network cannot be entered so."""
        last = self._skipped[-1]
        if self._same((last,), trace):
            return (last,)
        # NaN alone finds nearly all that is read, in a third of the passes; what it found is tried with everything.
        for kinds in (NONSENSE[:1], NONSENSE):
            needed = tuple(
                m
                for m in self._skipped
                if not self._same([other for other in self._skipped if other is not m], trace, kinds)
            )
            if self._same(needed, trace):
                return needed
        return ()

    def _suits_other_batches(self, trace: ForwardTrace) -> bool:
        """Whether the network can be entered with another number of images than the trace has."""
        images = torch.cat([trace.example, trace.example[:1]])
        answer, recorded = record_outputs(self._module, self._boundary, images.clone())
        try:
            # Under its own weights.
            again = self.run({}, [recorded[m] for m in self._boundary], images)
        # As below: shapes that fit two images by chance fail in ways of the network's own.
        except Exception:  # noqa: BLE001
            return False
        return torch.equal(again, answer)

    def _same(self, real: Sequence[nn.Module], trace: ForwardTrace, kinds: Sequence[float] = NONSENSE) -> bool:
        """Whether the answer stays the same whatever every skipped module but ``real`` says."""
        self._shapes = {m: tuple(trace.outputs[m].shape[1:]) for m in self._skipped}
        known = {m: trace.outputs[m] for m in real}
        try:
            for nonsense in kinds:
                example = trace.example
                with torch.inference_mode(), self._answering(known, len(example), nonsense):
                    if not torch.equal(self._module(example), trace.answer):
                        return False
        # A network that writes into a stand-in, or checks values, cannot be entered in the middle.
        except Exception:  # noqa: BLE001
            return False
        return True

    @contextmanager
    def _answering(
        self, answers: Mapping[nn.Module, Tensor], images: int, nonsense: float = torch.nan
    ) -> Iterator[None]:
        """Let skipped modules answer from the record, or with nonsense, while the block runs."""
        nothing = torch.full((), nonsense)
        try:
            for m in self._skipped:
                known = answers.get(m)
                # A stand-in takes no memory. What is known is copied: the next module may work in place.
                answer = nothing.expand(images * self._rows[m], *self._shapes[m]) if known is None else known
                m.forward = _constant(answer, copied=known is not None)
            yield
        finally:
            for m in self._skipped:
                vars(m).pop("forward", None)


def record_outputs(
    module: nn.Module, reads: Iterable[nn.Module], images: Tensor
) -> tuple[Tensor, dict[nn.Module, Tensor]]:
    """Return the network's answer to images, and what some of its modules put out on the way."""
    kept: dict[nn.Module, Tensor] = {}
    hooks = [m.register_forward_hook(lambda m, _i, output: kept.update({m: output.clone()})) for m in set(reads)]
    try:
        with torch.inference_mode():
            return module(images), kept
    finally:
        for hook in hooks:
            hook.remove()


def _constant(answer: Tensor, *, copied: bool) -> Any:
    return lambda *_args, **_kwargs: answer.clone() if copied else answer


def _over_before(start: nn.Module, trace: ForwardTrace) -> list[nn.Module]:
    """Return the outermost modules that are called once, and over before ``start`` begins, in that order."""
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
