"""What a search for a recipe found, and what a version records of it."""

from dataclasses import asdict, dataclass

from .calibration import Judgement
from .candidate import Candidate
from .evaluation import Trial


@dataclass(frozen=True)
class SearchResult:
    """The chosen candidate and how it was chosen."""

    candidate: Candidate
    forgotten: dict[int, Judgement]
    """Each forgotten class under the candidate, on calibration images."""
    retained: Judgement
    """The retained classes under the candidate."""
    base_retained: Judgement
    """The retained classes under the registered weights."""
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, object]:
        """Return what a version's recipe records of the search."""
        return {
            "retained": asdict(self.retained),
            "base_retained": asdict(self.base_retained),
            "forgotten": {str(k): asdict(judged) for k, judged in self.forgotten.items()},
            "trials": [asdict(trial) for trial in self.trials],
        }
