"""What is kept of blocks of calibration images: which classes of it still hold, and which images a block has."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property

from ledger.answers.answer_blocks import AnswerBlock
from ledger.digest import json_digest
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.errors import ObjectError

from .model_cards import card_of, surroundings_of
from .workbench import Workbench

MODULE = "@"
"""What a name in a row begins with that is no block, but a module whose outputs a part holds."""


class KeptBlocks:
    """What the anchor weights of one model compute of blocks of images, as it is kept.

    Each goes by everything that decides it: weights, code, images of its class, and the kind of machine. Where any of
    it is another, it is computed again.

    Args:
        workbench: The model.
        kind: What is computed.
    """

    def __init__(self, workbench: Workbench, kind: ResultKind) -> None:
        self._workbench = workbench
        self._kind = kind
        self._orders: dict[int, tuple[int, ...]] = {}
        self._damaged = False
        """Whether a part was found missing or damaged."""

    def digest_of(self, class_index: int, stop: int) -> str:
        """Return the digest of everything that decides what comes of a class's first ``stop`` images.

        Raises:
            DataError: The class has no training image.
        """
        model = self._workbench.model
        content = model.data.classes[class_index].train if model.data.classes else model.data_digest
        indices = self._order(class_index)[:stop]
        return json_digest([*self._deciding, class_index, content, list(indices)])

    def valid(self, kept: KeptResult, classes: Iterable[int]) -> frozenset[int]:
        """Return those of some classes of which is kept what would be computed now."""
        ends, members = stops(kept.parts), dict(kept.members)
        return frozenset(k for k in classes if k in members and members[k] == self.digest_of(k, ends.get(k, 0)))

    def holds(self, kept: KeptResult) -> bool:
        """Return whether everything kept is what would be computed now."""
        classes = frozenset(k for k, _ in kept.members)
        return self.valid(kept, classes) == classes

    @cached_property
    def _deciding(self) -> list[object]:
        """What decides all of it."""
        return [self._kind.value, card_of(self._workbench).digest, asdict(surroundings_of(self._workbench))]

    def _available(self, parts: Iterable[KeptPart]) -> frozenset[int]:
        """Return the classes of some parts whose images are there, and may be looked at."""
        return frozenset(stops(parts).keys() - self._workbench.anchor.forgotten - self._workbench.gone)

    def _members(self, parts: Iterable[KeptPart], blocks: Iterable[AnswerBlock]) -> list[tuple[int, str]]:
        """Return the classes of some parts and some further blocks, each with the digest of what decides it."""
        ends = stops(parts)
        for block in blocks:
            ends[block.class_index] = max(block.stop, ends.get(block.class_index, 0))
        return [(k, self.digest_of(k, stop)) for k, stop in sorted(ends.items())]

    def _stored(self, part: KeptPart) -> bytes | None:
        """Return the bytes of a part; None if it is missing or damaged: what is in it can be computed again."""
        try:
            return self._workbench.ledger.objects.get(part.object_digest)
        except ObjectError:
            self._damaged = True
            return None

    def _blocks(self, part: KeptPart, valid: frozenset[int]) -> list[AnswerBlock | None]:
        """Return the blocks of a part, in order; None for those of other classes."""
        return [self._block(*place) if place[0] in valid else None for place in places(part)]

    def _block(self, class_index: int, start: int, stop: int) -> AnswerBlock:
        return AnswerBlock(class_index, start, self._order(class_index)[start:stop])

    def _order(self, class_index: int) -> tuple[int, ...]:
        """Return the images of a class in the order in which they are used; finding them takes a look at all labels."""
        if class_index not in self._orders:
            self._orders[class_index] = self._workbench.samples(class_index).to_be_forgotten
        return self._orders[class_index]


def stops(parts: Iterable[KeptPart]) -> dict[int, int]:
    """Return of each class in some parts the place after its last image in them."""
    found: dict[int, int] = {}
    for k, _, stop in (place for part in parts for place in places(part)):
        found[k] = max(stop, found.get(k, 0))
    return found


def name_of(block: AnswerBlock) -> str:
    """Return what a block is called in a row: class index, place of the first image, place after the last."""
    return f"{block.class_index}:{block.start}:{block.stop}"


def places(part: KeptPart) -> Iterator[tuple[int, int, int]]:
    """Yield the class index and the places of each block of a part."""
    for name in part.names:
        if not name.startswith(MODULE):
            k, start, stop = (int(one) for one in name.split(":"))
            yield k, start, stop


def rows_of(part: KeptPart, blocks: Iterable[AnswerBlock | None]) -> Iterator[tuple[AnswerBlock, int, int]]:
    """Yield the blocks of a part that are given, with the places of their images among those of the part."""
    row = 0
    for block, (_, start, stop) in zip(blocks, places(part), strict=True):
        if block is not None:
            yield block, row, row + stop - start
        row += stop - start


def modules_in(part: KeptPart) -> Sequence[str]:
    """Return the names of the modules whose outputs a part holds."""
    return [name.removeprefix(MODULE) for name in part.names if name.startswith(MODULE)]
