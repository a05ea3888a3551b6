"""Units that let a candidate answer one batch of calibration images."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ledger.algebra.strength import Strength
from ledger.answers.answer_blocks import AnswerBlock
from ledger.answers.calibration import Batch
from ledger.answers.calibration_sampling import SampledCalibration
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.candidates.candidate import Candidate, Recipe
from ledger.candidates.predictor import CandidatePredictor
from ledger.digest import json_digest
from ledger.domain.settings import Preprocessing
from ledger.weights import tensor_files

from .anchoring import LOGITS, answers_in, written
from .model_card import ModelCard
from .packing import PackedBatch, PackedImages
from .parcels import parcel, unparcel
from .place import UnitPlace
from .surroundings import Surroundings


@dataclass(frozen=True)
class _Block:
    class_index: int
    start: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class _Shown:
    """A batch that candidates are shown."""

    indices: tuple[int, ...]
    strides: tuple[int, ...]
    """How its images lie in memory."""
    labels: tuple[int, ...]
    held_out: tuple[bool, ...] | None
    frequent: bool


@dataclass(frozen=True)
class _Facts:
    parts: tuple[PackedBatch, ...]
    """Of each block, its images."""
    blocks: tuple[_Block, ...]
    batches: tuple[_Shown, ...]
    forgotten: int
    """Number of batches of forgotten classes, which come first."""


def packed_calibration(calibration: SampledCalibration, preprocessing: Preprocessing) -> bytes:
    """Return calibration images as bytes that are shared with all workers."""
    images = PackedImages.of_preprocessed(
        (calibration.load(block).images for block in calibration.blocks), preprocessing
    )
    facts = _Facts(
        images.parts,
        tuple(_Block(block.class_index, block.start, block.indices) for block in calibration.blocks),
        tuple(
            _Shown(
                batch.indices or (),
                batch.images.stride(),
                tuple(batch.labels.tolist()),
                None if batch.held_out is None else tuple(batch.held_out.tolist()),
                batch.frequent,
            )
            for batch in calibration.batches
        ),
        len(calibration.forgotten),
    )
    return parcel(facts, [images.data])


def unpacked_calibration(data: bytes, preprocessing: Preprocessing) -> SampledCalibration:
    """Return the calibration images, bit for bit."""
    facts, [packed] = unparcel(_Facts, data)
    blocks = tuple(AnswerBlock(block.class_index, block.start, block.indices) for block in facts.blocks)
    images = dict(zip(blocks, PackedImages(facts.parts, packed).batches(preprocessing), strict=True))
    pixels = {i: one for block, own in images.items() for i, one in zip(block.indices, own, strict=True)}
    batches = tuple(
        Batch(
            _strided(torch.stack([pixels[i] for i in shown.indices]), shown.strides),
            torch.tensor(shown.labels),
            None if shown.held_out is None else torch.tensor(shown.held_out),
            shown.indices,
            frequent=shown.frequent,
        )
        for shown in facts.batches
    )

    def load(block: AnswerBlock) -> Batch:
        return Batch(images[block], torch.full((len(block.indices),), block.class_index), indices=block.indices)

    return SampledCalibration(batches[: facts.forgotten], batches[facts.forgotten :], blocks=blocks, load=load)


def _strided(images: Tensor, strides: tuple[int, ...]) -> Tensor:
    return torch.empty_strided(images.shape, strides).copy_(images)


@dataclass(frozen=True)
class JudgingUnit:
    """Answers one batch."""

    card: ModelCard
    surroundings: Surroundings
    calibration: str
    """Digest of the packed calibration images."""
    depths: tuple[int, ...]
    """What candidates edit, as the predictor takes it: it decides which part of the network is run again."""
    masked: tuple[int, ...]
    batch: int
    """Its place among the batches, those of forgotten classes first."""
    edits: str
    """Digest of the tensors that the candidate edits."""
    depth: int
    """Number of layers that it edits."""
    featured: bool = True
    """Whether features are read too."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides its result."""
        own = [
            self.calibration,
            list(self.depths),
            list(self.masked),
            self.batch,
            self.edits,
            self.depth,
            self.featured,
        ]
        return json_digest(["judge", self.card.digest, asdict(self.surroundings), *own])

    @property
    def needs(self) -> tuple[str, ...]:
        """Digests of the shared bytes that it needs."""
        return (self.card.weights, self.calibration, self.edits)

    def run(self, place: UnitPlace) -> bytes:
        """Answer it."""
        predictor = place.kept("predictor", f"{self.card.digest} {self._predictor}", lambda: self._open(place))
        batch = predictor.calibration.batches[self.batch]
        candidate = place.kept(
            "candidate", f"{self.card.digest} {self.edits} {self.depth}", lambda: self._candidate(place)
        )
        if self.featured:
            return written(predictor.own_answers(candidate, batch))
        return tensor_files.serialise({LOGITS: predictor.logits(candidate, batch)})

    @property
    def _predictor(self) -> str:
        return json_digest([self.calibration, list(self.depths), list(self.masked)])

    def _open(self, place: UnitPlace) -> CandidatePredictor:
        calibration = unpacked_calibration(place.fetch(self.calibration), self.card.preprocessing)
        return CandidatePredictor(place.network, calibration, self.depths, self.masked)

    def _candidate(self, place: UnitPlace) -> Candidate:
        # What it is called plays no part: its weights are given.
        recipe = Recipe("", self.depth, Strength(1.0, 1.0, 1))
        return Candidate(recipe, place.network.state() | place.state(self.edits), ())


def answers_of(data: bytes, batch: Batch) -> FeaturedAnswers:
    """Return what a unit answered to a batch."""
    answers = answers_in(data, batch.labels.tolist())
    return answers if batch.held_out is None else replace(answers, held_out=batch.held_out)
