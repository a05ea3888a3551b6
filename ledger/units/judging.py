"""Units that let a candidate answer one batch of calibration images."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch

from ledger.algebra.strength import Strength
from ledger.candidates.calibration import Batch, Calibration
from ledger.candidates.candidate import Candidate, Recipe
from ledger.candidates.featured_answers import FeaturedAnswers
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
class _Facts:
    parts: tuple[PackedBatch, ...]
    labels: tuple[tuple[int, ...], ...]
    held_out: tuple[tuple[bool, ...] | None, ...]
    frequent: tuple[bool, ...]
    forgotten: int
    """Number of batches of forgotten classes, which come first."""


def packed_calibration(calibration: Calibration, preprocessing: Preprocessing) -> bytes:
    """Return calibration images as bytes that are shared with all workers."""
    batches = calibration.batches
    images = PackedImages.of_preprocessed((batch.images for batch in batches), preprocessing)
    facts = _Facts(
        images.parts,
        tuple(tuple(batch.labels.tolist()) for batch in batches),
        tuple(None if batch.held_out is None else tuple(batch.held_out.tolist()) for batch in batches),
        tuple(batch.frequent for batch in batches),
        len(calibration.forgotten),
    )
    return parcel(facts, [images.data])


def unpacked_calibration(data: bytes, preprocessing: Preprocessing) -> Calibration:
    """Return the calibration images, bit for bit."""
    facts, [pixels] = unparcel(_Facts, data)
    images = PackedImages(facts.parts, pixels).batches(preprocessing)
    batches = tuple(
        Batch(one, torch.tensor(labels), None if held_out is None else torch.tensor(held_out), frequent=frequent)
        for one, labels, held_out, frequent in zip(images, facts.labels, facts.held_out, facts.frequent, strict=True)
    )
    return Calibration(batches[: facts.forgotten], batches[facts.forgotten :])


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
