"""What the anchor weights answer to calibration images: what is kept, and as few new answers as possible.

The anchor weights do not change from request to request, and most calibration images are the same each time. Their
answers are kept in the blocks of :mod:`ledger.candidates.answer_blocks`, each answered as one batch, whoever asks. So
they are the same to the last bit, kept or not. An answer goes by everything that decides it: weights, code, images of
its class, and the kind of machine. Where any of it is another, it is answered again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import torch

from ledger.candidates.answer_blocks import AnchorAnswers, AnswerBlock
from ledger.candidates.calibration_sampling import SampledCalibration
from ledger.candidates.featured_answers import FeaturedAnswers
from ledger.digest import json_digest
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.errors import ObjectError
from ledger.images.loading import load_images, pixels_of
from ledger.service.progress import Progress, counted
from ledger.units.anchoring import IMAGES, AnchorUnit, answer_anchor, answers_in, written
from ledger.units.packing import PackedImages

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

    def here(self) -> FeaturedAnswers:
        """Answer them in this process."""
        split, preprocessing = self.workbench.source.train, self.workbench.model.preprocessing
        images = (load_images(split, block.indices, preprocessing) for block in self.blocks)
        return answer_anchor(self.workbench.network, images)

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


class KeptAnswers:
    """The answers of the anchor weights of one model, as they are kept.

    Args:
        workbench: The model.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._damaged: set[str] = set()
        self._orders: dict[int, tuple[int, ...]] = {}

    def gather(self, images: SampledCalibration, progress: Progress, *, store: bool) -> AnchorAnswers:
        """Return the answers to calibration images.

        Args:
            images: The images.
            progress: Counts images that are answered, where there are any.
            store: Whether what is answered is kept.

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
            fresh = self._answer(missing, progress)
            answered |= fresh
            if store:
                self._keep(kept, fresh)
        return AnchorAnswers({block: answered[block] for block in images.blocks})

    def digest_of(self, class_index: int, stop: int) -> str:
        """Return the digest of everything that decides the answers to a class's first ``stop`` images.

        Raises:
            DataError: The class has no training image.
        """
        model = self._workbench.model
        content = model.data.classes[class_index].train if model.data.classes else model.data_digest
        indices = self._order(class_index)[:stop]
        return json_digest([*self._deciding, class_index, content, list(indices)])

    def valid(self, kept: KeptResult, classes: Iterable[int]) -> frozenset[int]:
        """Return those of some classes whose kept answers are what would be answered now."""
        stops, members = _stops(kept.parts), dict(kept.members)
        return frozenset(k for k in classes if k in members and members[k] == self.digest_of(k, stops.get(k, 0)))

    def holds(self, kept: KeptResult) -> bool:
        """Return whether all kept answers are what would be answered now."""
        classes = frozenset(k for k, _ in kept.members)
        return self.valid(kept, classes) == classes

    def again(self, part: KeptPart) -> bytes:
        """Return the bytes of a part whose classes are all valid, answered anew.

        Raises:
            DataError: An image cannot be read.
        """
        blocks = tuple(self._block(*_place(name)) for name in part.names)
        return written(AnchorTask(self._workbench, blocks).here())

    @cached_property
    def _deciding(self) -> list[object]:
        """What decides every answer."""
        return ["answers", card_of(self._workbench).digest, asdict(surroundings_of(self._workbench))]

    # -- answer -----------------------------------------------------------------------------------

    def _answer(self, blocks: Sequence[AnswerBlock], progress: Progress) -> dict[AnswerBlock, FeaturedAnswers]:
        chunks = list(cut(blocks, lambda block: len(block.indices), IMAGES))
        progress.phase("calibration", len(chunks))
        tasks = (AnchorTask(self._workbench, tuple(chunk)) for chunk in chunks)
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

    def _blocks(self, part: KeptPart, valid: frozenset[int]) -> list[AnswerBlock | None]:
        """Return the blocks of a part, in order; None for those of other classes."""
        places = [_place(name) for name in part.names]
        return [self._block(*place) if place[0] in valid else None for place in places]

    def _block(self, class_index: int, start: int, stop: int) -> AnswerBlock:
        return AnswerBlock(class_index, start, self._order(class_index)[start:stop])

    def _order(self, class_index: int) -> tuple[int, ...]:
        """Return the images of a class in the order in which they are used; finding them takes a look at all labels."""
        if class_index not in self._orders:
            self._orders[class_index] = self._workbench.samples(class_index).to_be_forgotten
        return self._orders[class_index]

    def _read_part(self, part: KeptPart, blocks: Sequence[AnswerBlock | None]) -> Answered:
        """Return the answers in a part; none if it is missing or damaged: they can be given again."""
        try:
            data = self._workbench.ledger.objects.get(part.object_digest)
        except ObjectError:
            self._damaged.add(part.object_digest)
            return {}
        places = [_place(name) for name in part.names]
        answers = answers_in(data, [k for k, start, stop in places for _ in range(start, stop)])
        found, row = {}, 0
        for block, (_, start, stop) in zip(blocks, places, strict=True):
            if block is not None:
                found[block] = _rows(answers, row, row + stop - start)
            row += stop - start
        return found

    # -- keep -------------------------------------------------------------------------------------

    def _keep(self, kept: KeptResult | None, fresh: Answered) -> None:
        """Keep new answers beside those that are kept; all together in new parts, where some of these are of no use."""
        old = () if kept is None else kept.parts
        classes = _stops(old).keys()
        available = classes - self._workbench.anchor.forgotten - self._workbench.gone
        valid = frozenset() if kept is None else self.valid(kept, available)
        whole = valid == classes and not self._damaged and len(old) < MOST_PARTS
        answered = dict(fresh)
        if not whole:
            for part in old:
                answered |= self._read_part(part, self._blocks(part, valid))
            old = ()
        answered = _without_gaps(answered, old)
        stops = _stops(old)
        for block in answered:
            stops[block.class_index] = max(block.stop, stops.get(block.class_index, 0))
        members = [(k, self.digest_of(k, stop)) for k, stop in sorted(stops.items())]
        parts = (
            ([_name(block) for block in chunk], written(FeaturedAnswers.joined([answered[block] for block in chunk])))
            for chunk in cut(sorted(answered), lambda block: _bytes(answered[block]), PART_BYTES)
        )
        keep_result(self._workbench, ResultKind.ANSWERS, members, parts, beside=old)


def _without_gaps(answered: Answered, old: Sequence[KeptPart]) -> dict[AnswerBlock, FeaturedAnswers]:
    """Leave out what does not continue the beginning of its class: something before it was damaged."""
    stops, found = _stops(old), {}
    for block in sorted(answered):
        if block.start == stops.get(block.class_index, 0):
            stops[block.class_index] = block.stop
            found[block] = answered[block]
    return found


def _stops(parts: Sequence[KeptPart]) -> dict[int, int]:
    """Return of each class in some parts the place after its last image in them."""
    stops: dict[int, int] = {}
    for k, _, stop in (_place(name) for part in parts for name in part.names):
        stops[k] = max(stop, stops.get(k, 0))
    return stops


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


def _name(block: AnswerBlock) -> str:
    """Return what a block is called in a row: class index, place of the first image, place after the last."""
    return f"{block.class_index}:{block.start}:{block.stop}"


def _place(name: str) -> tuple[int, int, int]:
    k, start, stop = (int(part) for part in name.split(":"))
    return k, start, stop
