"""What the anchor weights answer to calibration images: what is kept, and as few new answers as possible.

The anchor weights do not change from request to request, and most calibration images are the same each time. Their
answers are kept in the blocks of :mod:`ledger.answers.answer_blocks`, each answered as one batch, whoever asks. So
they are the same to the last bit, kept or not. An answer goes by everything that decides it: weights, code, images of
its class, and the kind of machine. Where any of it is another, it is answered again.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from ledger.answers.activations import Activations
from ledger.answers.answer_blocks import AnchorAnswers, AnswerBlock
from ledger.answers.calibration_sampling import SampledCalibration
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.images.loading import load_images, pixels_of
from ledger.service.progress import Progress, counted
from ledger.units.anchoring import IMAGES, AnchorUnit, answer_anchor, answers_in, written
from ledger.units.packing import PackedImages

from .kept_blocks import KeptBlocks, name_of, places, rows_of, stops
from .kept_results import PART_BYTES, cut, find_kept_result, keep_result
from .model_cards import card_of, surroundings_of
from .workbench import Workbench

MOST_PARTS = 8
"""Each request adds an object with the answers to its own images. Beyond so many, all are put together again."""
Answered = Mapping[AnswerBlock, FeaturedAnswers]
"""The answers to each block."""


@dataclass(frozen=True)
class AnchorTask:
    """Some blocks for the anchor weights to answer: here with what is open, or as a unit that an engine runs."""

    workbench: Workbench
    blocks: tuple[AnswerBlock, ...]
    activations: Activations | None = None
    """Records them meanwhile, where they are answered in this process."""

    def here(self) -> FeaturedAnswers:
        """Answer them in this process."""
        return FeaturedAnswers.joined([self._answered(block) for block in self.blocks])

    def _answered(self, block: AnswerBlock) -> FeaturedAnswers:
        images = load_images(self.workbench.source.train, block.indices, self.workbench.model.preprocessing)
        with nullcontext() if self.activations is None else self.activations.recording(block):
            return answer_anchor(self.workbench.network, [images])

    def unit(self) -> AnchorUnit:
        """Return them as a unit, with the pixels of their images.

        Raises:
            DataError: An image cannot be read.
        """
        bench = self.workbench
        pixels = (pixels_of(bench.source.train, b.indices, bench.model.preprocessing) for b in self.blocks)
        return AnchorUnit(card_of(bench), surroundings_of(bench), PackedImages.of(pixels))

    def read(self, data: bytes) -> FeaturedAnswers:
        """Return what a unit answered."""
        return answers_in(data, [block.class_index for block in self.blocks for _ in block.indices])


class KeptAnswers(KeptBlocks):
    """The answers of the anchor weights of one model, as they are kept.

    Args:
        workbench: The model.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__(workbench, ResultKind.ANSWERS)

    def gather(
        self, images: SampledCalibration, progress: Progress, *, store: bool, activations: Activations | None = None
    ) -> AnchorAnswers:
        """Return the answers to calibration images.

        Args:
            images: The images.
            progress: Counts images that are answered, where there are any.
            store: Whether what is answered is kept.
            activations: Record what is answered in this process.

        Raises:
            DataError: An image cannot be read.
            NonFiniteError: An output is NaN or infinite.
            AuditError: The audit log does not verify.
            RowError: A row is not what the audit log says.
        """
        kept = find_kept_result(self._workbench, ResultKind.ANSWERS)
        answered = {} if kept is None else self._read(kept, set(images.blocks))
        missing = [block for block in images.blocks if block not in answered]
        if missing:
            fresh = self._answer(missing, progress, activations)
            answered |= fresh
            if store:
                self._keep(kept, fresh)
        return AnchorAnswers({block: answered[block] for block in images.blocks})

    def again(self, part: KeptPart) -> bytes:
        """Return the bytes of a part whose classes are all valid, answered anew.

        Raises:
            DataError: An image cannot be read.
        """
        blocks = tuple(self._block(*place) for place in places(part))
        return written(AnchorTask(self._workbench, blocks).here())

    # -- answer -----------------------------------------------------------------------------------

    def _answer(
        self, blocks: Sequence[AnswerBlock], progress: Progress, activations: Activations | None
    ) -> dict[AnswerBlock, FeaturedAnswers]:
        chunks = list(cut(blocks, lambda block: len(block.indices), IMAGES))
        progress.phase("calibration", len(chunks))
        tasks = (AnchorTask(self._workbench, tuple(chunk), activations) for chunk in chunks)
        found: dict[AnswerBlock, FeaturedAnswers] = {}
        answers = self._workbench.ledger.engine.each(tasks, keep=True)
        for chunk, own in zip(chunks, counted(progress, answers), strict=True):
            found.update(_parted(chunk, own))
        return found

    # -- read -------------------------------------------------------------------------------------

    def _read(self, kept: KeptResult, wanted: set[AnswerBlock]) -> dict[AnswerBlock, FeaturedAnswers]:
        """Return the wanted blocks that are kept, and are what would be answered now."""
        valid = self.valid(kept, {block.class_index for block in wanted})
        found: dict[AnswerBlock, FeaturedAnswers] = {}
        for part in kept.parts:
            blocks = self._blocks(part, valid)
            if wanted & {block for block in blocks if block is not None}:
                found.update(self._read_part(part, blocks))
        return {block: answers for block, answers in found.items() if block in wanted}

    def _read_part(self, part: KeptPart, blocks: Sequence[AnswerBlock | None]) -> Answered:
        """Return the answers in a part; none if it is missing or damaged: they can be given again."""
        data = self._stored(part)
        if data is None:
            return {}
        answers = answers_in(data, [k for k, start, stop in places(part) for _ in range(start, stop)])
        return {block: _rows(answers, start, stop) for block, start, stop in rows_of(part, blocks)}

    # -- keep -------------------------------------------------------------------------------------

    def _keep(self, kept: KeptResult | None, fresh: Answered) -> None:
        """Keep new answers beside those that are kept; all together in new parts, where some of these are of no use."""
        old = () if kept is None else kept.parts
        valid = frozenset() if kept is None else self.valid(kept, self._available(old))
        whole = valid == stops(old).keys() and not self._damaged and len(old) < MOST_PARTS
        answered = dict(fresh)
        if not whole:
            for part in old:
                answered |= self._read_part(part, self._blocks(part, valid))
            old = ()
        answered = _without_gaps(answered, old)
        members = self._members(old, answered)
        parts = (
            ([name_of(block) for block in chunk], written(FeaturedAnswers.joined([answered[block] for block in chunk])))
            for chunk in cut(sorted(answered), lambda block: _bytes(answered[block]), PART_BYTES)
        )
        keep_result(self._workbench, ResultKind.ANSWERS, members, parts, beside=old)


def _without_gaps(answered: Answered, old: Sequence[KeptPart]) -> dict[AnswerBlock, FeaturedAnswers]:
    """Leave out what does not continue the beginning of its class: something before it was damaged."""
    ends, found = stops(old), {}
    for block in sorted(answered):
        if block.start == ends.get(block.class_index, 0):
            ends[block.class_index] = block.stop
            found[block] = answered[block]
    return found


def _parted(blocks: Sequence[AnswerBlock], answers: FeaturedAnswers) -> Answered:
    found, row = {}, 0
    for block in blocks:
        found[block] = _rows(answers, row, row + len(block.indices))
        row += len(block.indices)
    return found


def _rows(answers: FeaturedAnswers, start: int, stop: int) -> FeaturedAnswers:
    return answers.only(torch.arange(start, stop))


def _bytes(answers: FeaturedAnswers) -> int:
    known = (one for one in (answers.logits, answers.features, answers.inner) if one is not None)
    return sum(one.numel() * one.element_size() for one in known)
