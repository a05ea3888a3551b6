"""The recipe of a version: how its weights were computed, as the ledger records it for good.

A recipe is written once, as JSON, and its digest stands in the audit history and in certificates. It may come from an
earlier release, which recorded less, or tell of a solver that somebody else wrote. So :class:`VersionRecipe` keeps the
JSON as it is and reads from it what it knows: what is missing or malformed is None or left out, and nothing raises.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from .chance import was_known
from .numbers import finite_number
from .recorded_likeness import RecordedLikeness
from .registered_accuracy import Count, RegisteredAccuracy, read_counts

T = TypeVar("T")


@dataclass(frozen=True)
class RecordedScores:
    """Mean accuracy and confidence on calibration images of some classes, as shares."""

    accuracy: float | None = None
    confidence: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"accuracy": self.accuracy, "confidence": self.confidence}

    @classmethod
    def read(cls, value: object) -> "RecordedScores":
        """Read scores from JSON values of any kind."""
        found = _mapping(value)
        return cls(finite_number(found.get("accuracy")), finite_number(found.get("confidence")))


@dataclass(frozen=True)
class RecordedTrial:
    """One trial of the search for solver, depth and strength."""

    solver: str | None
    depth: int | None
    """Number of layers edited, counted from the output."""
    alpha_r: float | None
    alpha_f: float | None
    edit: float | None
    """Size of the edit: its norm divided by that of the weights; None if it is not finite."""
    forgotten: float
    """Highest calibration accuracy on a forgotten class, as a share."""
    passed: bool
    """Whether it forgets enough."""
    retained: float | None = None
    """Mean confidence on the retained classes, as a share; None if the search did not need it."""
    separability: float | None = None
    """As :class:`~ledger.domain.recorded_likeness.RecordedLikeness` has it; None if the search did not need it."""
    divergence: float | None = None
    """Likewise."""
    shown: int | None = None
    """Retained calibration images that it was shown before it was judged, or compared with others; None if the search
    did not need any, or an earlier release searched."""
    chosen: bool = False
    """Whether the version was computed this way. Not recorded: found by comparing."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; a likeness, and how many images were shown, only where there is one."""
        unmeasured = {name for name in ("separability", "divergence", "shown") if getattr(self, name) is None}
        return {name: value for name, value in vars(self).items() if name not in {"chosen", *unmeasured}}


@dataclass(frozen=True)
class RecordedMapChange:
    """The change of one linear map, or of all groups of a layer."""

    key: str
    change: float
    """Norm of the change divided by that of the map."""
    retain_rank: int | None
    forget_rank: int | None
    groups: int = 1
    """Number of maps that are summed up here."""
    most: float | None = None
    """Of several: the largest change of one."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        several = {"groups": self.groups, "most": self.most} if self.groups > 1 else {}
        ranks = {"retain_rank": self.retain_rank, "forget_rank": self.forget_rank}
        return {"key": self.key, "change": self.change, **ranks, **several}


@dataclass(frozen=True)
class VersionRecipe:
    """How a version's weights were computed."""

    document: dict[str, Any] = field(default_factory=dict)
    """The JSON that is stored, whose digest is recorded."""

    @classmethod
    def of_registration(
        cls, environment: Mapping[str, object], code: str | None, accuracy: RegisteredAccuracy | None = None
    ) -> "VersionRecipe":
        """Return the recipe of version 0: nothing was computed.

        Args:
            environment: Versions, device and threads at the time.
            code: Digest of the source code that builds the network.
            accuracy: How well the weights answered.
        """
        measured = {} if accuracy is None else {"accuracy": accuracy.to_json()}
        return cls({"environment": dict(environment), "code": code, **measured})

    @classmethod
    def of_unchanged_weights(cls, environment: Mapping[str, object]) -> "VersionRecipe":
        """Return the recipe of a version that has the weights which computations start from."""
        return cls({"environment": dict(environment)})

    @classmethod
    def of_computation(
        cls,
        *,
        solver: str,
        depth: int,
        layers: int,
        alpha_r: float,
        alpha_f: float,
        effective_alpha_f: float,
        edit: float,
        maps: Iterable[RecordedMapChange],
        search: Mapping[str, Any],
        class_spaces: Mapping[int, str],
        base: str,
        data: str,
        plugins: Mapping[str, str],
        environment: Mapping[str, object],
        solvers: Sequence[str] | None = None,
    ) -> "VersionRecipe":
        """Return the recipe of computed weights.

        Args:
            solver: Name of the solver that computed the edit.
            depth: Number of layers edited, counted from the output.
            layers: Number of layers that could be edited.
            alpha_r: Importance of the retain space.
            alpha_f: Importance of the forget space.
            effective_alpha_f: The same for the joint space of all forgotten classes.
            edit: Size of the edit: root mean square of the layers' relative changes.
            maps: The change of each edited map.
            search: What the search found (:func:`search_record`).
            class_spaces: Digest of each class's stored space, by class index.
            base: Digest of the weights that the computation started from.
            data: Digest of the images.
            plugins: Version of each plugin, by name.
            environment: Versions, device and threads: what decides the last bits.
            solvers: Names of the solvers that took part, where a person named them; else those of the model did.
        """
        named = {} if solvers is None else {"solvers": list(solvers)}
        return cls(
            {
                "solver": solver,
                "depth": depth,
                "layers": layers,
                "alpha_r": alpha_r,
                "alpha_f": alpha_f,
                "effective_alpha_f": effective_alpha_f,
                "edit": edit,
                "maps": [change.to_json() for change in maps],
                "search": dict(search),
                "class_spaces": {str(k): digest for k, digest in class_spaces.items()},
                "base": base,
                "data": data,
                "plugins": dict(plugins),
                "environment": dict(environment),
                **named,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that is stored."""
        return self.document

    @property
    def computed(self) -> bool:
        """Whether weights were computed, rather than registered or taken over as they were."""
        return "solver" in self.document

    @property
    def solver(self) -> str | None:
        """Name of the solver that computed the edit."""
        return self._text("solver")

    @property
    def named_solvers(self) -> tuple[str, ...] | None:
        """Names of the solvers that took part, where a person named them; None where those of the model did."""
        named = self.document.get("solvers")
        return tuple(map(str, named)) if isinstance(named, list) else None

    @property
    def depth(self) -> int | None:
        """Number of layers edited, counted from the output."""
        return self._count("depth")

    @property
    def layers(self) -> int | None:
        """Number of layers that could be edited."""
        return self._count("layers")

    @property
    def alpha_r(self) -> float | None:
        """Importance of the retain space."""
        return finite_number(self.document.get("alpha_r"))

    @property
    def alpha_f(self) -> float | None:
        """Importance of the forget space."""
        return finite_number(self.document.get("alpha_f"))

    @property
    def effective_alpha_f(self) -> float | None:
        """Importance of the joint forget space of all forgotten classes."""
        return finite_number(self.document.get("effective_alpha_f"))

    @property
    def edit(self) -> float | None:
        """Size of the edit: its norm divided by that of the weights, root mean square over the linear maps."""
        return finite_number(self.document.get("edit"))

    @cached_property
    def maps(self) -> tuple[RecordedMapChange, ...]:
        """The change of each edited map."""
        return _read(self.document.get("maps"), _map_change)

    @property
    def retained(self) -> RecordedScores:
        """Scores of the retained classes."""
        return RecordedScores.read(self._search.get("retained"))

    @property
    def base_retained(self) -> RecordedScores:
        """Scores of the retained classes under the weights that the computation started from."""
        return RecordedScores.read(self._search.get("base_retained"))

    @property
    def mask_retained(self) -> RecordedScores:
        """Scores of the retained classes under the masked original.

        That is the weights that the computation started from, which may not answer a forgotten class. Earlier releases
        did not record them.
        """
        return RecordedScores.read(self._search.get("mask_retained"))

    @property
    def likeness(self) -> RecordedLikeness:
        """What still tells the forgotten classes apart; only of solvers that are judged by it."""
        return RecordedLikeness.read(self._search.get("likeness"))

    @property
    def base_likeness(self) -> RecordedLikeness:
        """The same under the weights that the computation started from."""
        return RecordedLikeness.read(self._search.get("base_likeness"))

    @cached_property
    def forgotten(self) -> dict[int, RecordedScores]:
        """Scores of each forgotten class, by class index."""
        found = _mapping(self._search.get("forgotten"))
        return {int(k): RecordedScores.read(value) for k, value in found.items() if k.isdecimal()}

    @cached_property
    def registered_accuracy(self) -> RegisteredAccuracy | None:
        """Of version 0: how well the weights answered; earlier releases did not record it."""
        return RegisteredAccuracy.read(self.document.get("accuracy"))

    @cached_property
    def base_forgotten(self) -> dict[int, Count]:
        """Calibration images of each class that was forgotten, by class index, and how many were recognised before.

        Before: by the weights that the computation started from. Earlier releases did not record it.
        """
        return read_counts(self._search.get("base_forgotten"))

    def not_known_before(self, classes: int) -> frozenset[int]:
        """Return the forgotten classes that were not known before: nothing could be forgotten of them.

        Args:
            classes: Number of the model's classes.
        """
        return frozenset(k for k, c in self.base_forgotten.items() if not was_known(c.correct, c.images, classes))

    @property
    def searched(self) -> bool:
        """Whether the recipe tells of a search."""
        return bool(self._search)

    @cached_property
    def trials(self) -> tuple[RecordedTrial, ...]:
        """The trials of the search whose outcome is recorded."""
        return _read(self._search.get("trials"), self._trial)

    @property
    def trial_count(self) -> int:
        """Number of all trials of the search."""
        trials = self._search.get("trials")
        return len(trials) if isinstance(trials, list) else 0

    @property
    def base(self) -> str | None:
        """Digest of the weights that the computation started from; earlier releases did not record it."""
        return self._text("base")

    @property
    def data(self) -> str | None:
        """Digest of the images; earlier releases did not record it."""
        return self._text("data")

    @property
    def code(self) -> str | None:
        """Of version 0: digest of the source code that builds the network."""
        return self._text("code")

    @property
    def plugins(self) -> dict[str, Any]:
        """Version of each plugin, by name."""
        return _mapping(self.document.get("plugins"))

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device and threads: what decides the last bits."""
        return _mapping(self.document.get("environment"))

    @property
    def _search(self) -> dict[str, Any]:
        return _mapping(self.document.get("search"))

    def _text(self, key: str) -> str | None:
        value = self.document.get(key)
        return value if isinstance(value, str) else None

    def _count(self, key: str) -> int | None:
        value = finite_number(self.document.get(key))
        return None if value is None else int(value)

    def _trial(self, item: Mapping[str, Any]) -> RecordedTrial | None:
        edit, forgotten = finite_number(item.get("edit")), finite_number(item.get("forgotten"))
        if edit is None or forgotten is None:
            return None
        depth, shown = finite_number(item.get("depth")), finite_number(item.get("shown"))
        return RecordedTrial(
            solver=str(item["solver"]) if "solver" in item else None,
            depth=None if depth is None else int(depth),
            alpha_r=finite_number(item.get("alpha_r")),
            alpha_f=finite_number(item.get("alpha_f")),
            edit=edit,
            forgotten=forgotten,
            passed=item.get("passed") is True,
            retained=finite_number(item.get("retained")),
            separability=finite_number(item.get("separability")),
            divergence=finite_number(item.get("divergence")),
            shown=None if shown is None else int(shown),
            # Trials with the same alphas may differ in something that this release does not know; then their sizes do.
            chosen=all(item.get(name) == self.document.get(name) for name in ("alpha_r", "alpha_f", "edit")),
        )


def search_record(
    *,
    retained: RecordedScores,
    base_retained: RecordedScores,
    forgotten: Mapping[int, RecordedScores],
    trials: Iterable[RecordedTrial],
    mask_retained: RecordedScores | None = None,
    base_forgotten: Mapping[int, Count] | None = None,
    likeness: RecordedLikeness | None = None,
    base_likeness: RecordedLikeness | None = None,
    retained_images: int | None = None,
    early_error: float | None = None,
) -> dict[str, Any]:
    """Return what a recipe holds of the search that chose it, as plain JSON values.

    Args:
        retained: The retained classes under the chosen candidate.
        base_retained: The retained classes under the weights that the computation started from.
        forgotten: Each forgotten class under the chosen candidate, by class index.
        trials: All candidates that were tried, in order.
        mask_retained: The retained classes under those weights, if these may not answer a forgotten class.
        base_forgotten: Of each forgotten class: its images, and how many were recognised under the weights that the
            computation started from.
        likeness: What still tells forgotten classes apart under the chosen candidate.
        base_likeness: The same under the weights that the computation started from.
        retained_images: Number of retained calibration images.
        early_error: With which probability a candidate was judged wrongly before it was shown all of them.
    """
    looks = {"retained_images": retained_images, "early_error": early_error}
    alike = {"likeness": likeness, "base_likeness": base_likeness}
    before = {} if base_forgotten is None else {str(k): list(count) for k, count in base_forgotten.items()}
    return {
        "retained": retained.to_json(),
        "base_retained": base_retained.to_json(),
        **({} if mask_retained is None else {"mask_retained": mask_retained.to_json()}),
        "forgotten": {str(k): scores.to_json() for k, scores in forgotten.items()},
        "trials": [trial.to_json() for trial in trials],
        **({"base_forgotten": before} if before else {}),
        **{name: value.to_json() for name, value in alike.items() if value is not None},
        **{name: value for name, value in looks.items() if value is not None},
    }


def _map_change(item: Mapping[str, Any]) -> RecordedMapChange | None:
    change = finite_number(item.get("change"))
    if change is None:
        return None
    ranks = (finite_number(item.get(name)) for name in ("retain_rank", "forget_rank"))
    retain, forget = (None if rank is None else int(rank) for rank in ranks)
    groups = finite_number(item.get("groups"))
    return RecordedMapChange(
        str(item.get("key", "?")),
        change,
        retain,
        forget,
        1 if groups is None else int(groups),
        finite_number(item.get("most")),
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(value: object, read: Callable[[Mapping[str, Any]], T | None]) -> tuple[T, ...]:
    items = [read(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return tuple(item for item in items if item is not None)
