"""What a search for a recipe found, and what a version records of it."""

from dataclasses import asdict, dataclass
from typing import Any

from ledger.answers.predictions import Scores
from ledger.domain.recipe import RecordedScores, RecordedTrial, search_record
from ledger.domain.recorded_likeness import RecordedLikeness
from ledger.domain.registered_accuracy import Count

from .candidate import Candidate
from .likeness import Likeness
from .trials import Trial


@dataclass(frozen=True)
class SearchResult:
    """The chosen candidate and how it was chosen."""

    candidate: Candidate
    forgotten: dict[int, Scores]
    """Each forgotten class under the candidate, on calibration images."""
    retained: Scores
    """The retained classes under the candidate."""
    anchor_retained: Scores
    """The retained classes under the anchor weights."""
    masked_retained: Scores
    """The retained classes under the masked original, which losses are measured against."""
    anchor_forgotten: dict[int, Count]
    """Of each forgotten class: its calibration images, and how many the anchor weights recognise."""
    trials: tuple[Trial, ...]
    anchor_likeness: Likeness | None = None
    """How much the anchor weights tell of the forgotten classes; None where it was not measured."""
    likeness: Likeness | None = None
    """The same of the candidate."""
    retained_images: int | None = None
    """Number of retained calibration images."""
    early_error: float | None = None
    """With which probability a candidate was judged wrongly before it was shown all of them; None where none was
    judged so."""

    @property
    def lost(self) -> float:
        """Loss of accuracy on the retained classes against the masked original, as a difference of shares."""
        return self.masked_retained.accuracy - self.retained.accuracy

    def to_json(self) -> dict[str, Any]:
        """Return what a version's recipe records of the search."""
        return search_record(
            retained=_recorded(self.retained),
            base_retained=_recorded(self.anchor_retained),
            mask_retained=_recorded(self.masked_retained),
            forgotten={k: _recorded(scores) for k, scores in self.forgotten.items()},
            base_forgotten=self.anchor_forgotten,
            likeness=_likeness(self.likeness),
            base_likeness=_likeness(self.anchor_likeness),
            retained_images=self.retained_images,
            early_error=self.early_error,
            trials=[RecordedTrial(**asdict(trial)) for trial in self.trials],
        )


def _likeness(found: Likeness | None) -> RecordedLikeness | None:
    return None if found is None else RecordedLikeness(found.separability, found.divergence)


def _recorded(scores: Scores) -> RecordedScores:
    return RecordedScores(scores.accuracy, scores.confidence)
