"""What a search for a recipe found, and what a version records of it."""

from dataclasses import asdict, dataclass

from .candidate import Candidate
from .predictions import Scores
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
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, object]:
        """Return what a version's recipe records of the search."""
        return {
            "retained": asdict(self.retained),
            "base_retained": asdict(self.anchor_retained),
            "forgotten": {str(k): asdict(scores) for k, scores in self.forgotten.items()},
            "trials": [asdict(trial) for trial in self.trials],
        }
