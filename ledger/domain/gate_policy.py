"""The policy of a ledger's gates: how much is tested of a new version, and which figures let it pass.

``unledger.toml`` has one policy for all models in ``[gates]``, and what is different for one in
``[gates.models.NAME]``. A model's level and bounds take the place of the general ones. Its conditions are added to the
general ones; one that bounds the same metric from the same side takes the place of the general condition, so that a
model can be held to more, or to less.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ledger.errors import UsageError

from .conditions import EXAMPLE, Condition
from .levels import EvidenceLevel
from .numbers import LARGEST_WHOLE

DEFAULT_TEST_PER_CLASS = 100
"""Test images of a class that are measured before a version is made. As many images of each class show a candidate to
the search; more would multiply the time of a request on large data sets, and ``evaluate`` measures them all."""
TRAIN_PER_CLASS, LEARNING_TRAIN_PER_CLASS = 20, 100
"""Training images of a class that are measured: few where the policy asks for outputs only, more where evaluators
attack them or learn from them."""
FEW_TEST_IMAGES, FEW_TRAIN_IMAGES = 2000, 1000
"""Images of all classes together that are measured where nothing is asked of the figures: about as many as the search
looks at. At a thousand classes a hundred of each would take fifty times as long as all else."""
_OWN_KEYS = ("level", "conditions", "test_per_class", "train_per_class", "test_images", "train_images")
_GENERAL_KEYS = (*_OWN_KEYS, "models")
_MODEL_KEYS = (*_OWN_KEYS, "retrained")
_RETRAINED_KEYS = ("weights", "without", "by")


@dataclass(frozen=True)
class RetrainedReference:
    """Weights that somebody says were trained without some classes, and with all the others."""

    weights: str
    """A safetensors file; relative to the ledger's folder."""
    without: frozenset[str]
    """Classes, as a person names them: exactly these were left out."""
    by: str
    """Who says so."""


@dataclass(frozen=True)
class GatePolicy:
    """What a new version of one model has to pass."""

    level: EvidenceLevel = EvidenceLevel.OUTPUTS
    """How much is tested before a version is made."""
    conditions: tuple[Condition, ...] = ()
    """What has to hold, beside the gates on calibration images in the model's settings."""
    own_test_per_class: int | None = None
    """Most test images of a class; None for 100."""
    own_train_per_class: int | None = None
    """Most training images of a class; None for what the evaluators need."""
    own_test_images: int | None = None
    """Most test images of all classes together, but at least one of each, and of those to be forgotten as many as of
    few classes. None for 2,000 where nothing is asked but level 1 and no number for each class; else for no limit."""
    own_train_images: int | None = None
    """Likewise of training images; None for 1,000, or for no limit."""
    retrained: tuple[RetrainedReference, ...] = ()
    """Weights of networks that never saw some classes: what is forgotten is compared with them. Of a model alone."""

    @property
    def test_per_class(self) -> int:
        """Most test images of a class that are measured before a version is made."""
        return DEFAULT_TEST_PER_CLASS if self.own_test_per_class is None else self.own_test_per_class

    @property
    def train_per_class(self) -> int:
        """Most training images of a class that are measured before a version is made."""
        if self.own_train_per_class is not None:
            return self.own_train_per_class
        enough = self.evaluators <= EvidenceLevel.OUTPUTS.required
        return TRAIN_PER_CLASS if enough else LEARNING_TRAIN_PER_CLASS

    @property
    def test_images(self) -> int | None:
        """Most test images of all classes together, at least one of each; None for no limit."""
        return self._limit(self.own_test_images, self.own_test_per_class, FEW_TEST_IMAGES)

    @property
    def train_images(self) -> int | None:
        """Most training images of all classes together, at least one of each; None for no limit."""
        return self._limit(self.own_train_images, self.own_train_per_class, FEW_TRAIN_IMAGES)

    def _limit(self, own: int | None, per_class: int | None, few: int) -> int | None:
        # A condition, or what a level above 1 asks, may hang on single classes, of which few images say nothing.
        asked = per_class is not None or self.conditions or self.level > EvidenceLevel.OUTPUTS
        return own if own is not None or asked else few

    @property
    def evaluators(self) -> frozenset[str]:
        """Names of the evaluators that have to measure."""
        return self.level.required | {condition.evaluator for condition in self.conditions}

    def to_json(self) -> dict[str, Any]:
        """Return all that decides whether a version passes, as plain JSON values; no name of a class is among them.

        Retrained weights are left out: what is compared with them records their digest itself.
        """
        limits = {"test_images": self.test_images, "train_images": self.train_images}
        return {
            "level": self.level.value,
            "conditions": sorted(str(condition) for condition in self.conditions),
            "test_per_class": self.test_per_class,
            "train_per_class": self.train_per_class,
            **{name: limit for name, limit in limits.items() if limit is not None},
        }


@dataclass(frozen=True)
class ModelGates:
    """All gates of one model: its policy, and those on calibration images, which are fixed at registration."""

    policy: GatePolicy
    max_forgotten_accuracy: float
    """Largest calibration accuracy on any forgotten class, as a share."""
    max_retained_drop: float
    """Largest loss of calibration accuracy on the retained classes, as a difference of shares."""

    def to_json(self) -> dict[str, Any]:
        """Return what the digest of the gates covers."""
        own = {"max_forgotten_accuracy": self.max_forgotten_accuracy, "max_retained_drop": self.max_retained_drop}
        return {**self.policy.to_json(), **own}


@dataclass(frozen=True)
class _Section:
    """What one table of the file says."""

    level: EvidenceLevel | None = None
    conditions: tuple[Condition, ...] = ()
    test_per_class: int | None = None
    train_per_class: int | None = None
    test_images: int | None = None
    train_images: int | None = None
    retrained: tuple[RetrainedReference, ...] = ()

    def over(self, general: GatePolicy) -> GatePolicy:
        """Return a policy with what this table says in the place of what was said before."""
        own = {condition.bounds for condition in self.conditions}
        kept = [condition for condition in general.conditions if condition.bounds not in own]
        return GatePolicy(
            general.level if self.level is None else self.level,
            (*kept, *self.conditions),
            general.own_test_per_class if self.test_per_class is None else self.test_per_class,
            general.own_train_per_class if self.train_per_class is None else self.train_per_class,
            general.own_test_images if self.test_images is None else self.test_images,
            general.own_train_images if self.train_images is None else self.train_images,
            self.retrained,
        )


@dataclass(frozen=True)
class GatePolicies:
    """The gate policies of one ledger."""

    general: GatePolicy = GatePolicy()
    _own: Mapping[str, _Section] = field(default_factory=dict)
    """What is different, by the name of a model."""

    def of(self, model: str) -> GatePolicy:
        """Return the policy that holds for a model."""
        own = self._own.get(model)
        return self.general if own is None else own.over(self.general)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that have something of their own."""
        return tuple(sorted(self._own))

    @classmethod
    def read(cls, values: object, place: str) -> "GatePolicies":
        """Read the table ``gates`` of ``unledger.toml``.

        Args:
            values: What the TOML parser made of it.
            place: The file, for errors.

        Raises:
            UsageError: It holds something that no policy has, or no condition can be read of.
        """
        where = f"[gates] in {place}"
        table = _table(values, _GENERAL_KEYS, where)
        general = _section({key: table[key] for key in _OWN_KEYS if key in table}, where)
        own = {}
        for name, said in _table(table.get("models", {}), None, f"[gates.models] in {place}").items():
            here = f"[gates.models.{name}] in {place}"
            own[name] = _section(_table(said, _MODEL_KEYS, here), here)
        return cls(general.over(GatePolicy()), own)


def _section(table: Mapping[str, Any], where: str) -> _Section:
    return _Section(
        level=_level(table["level"], where) if "level" in table else None,
        conditions=_conditions(table.get("conditions", []), where),
        test_per_class=_count(table, "test_per_class", where),
        train_per_class=_count(table, "train_per_class", where),
        test_images=_count(table, "test_images", where),
        train_images=_count(table, "train_images", where),
        retrained=tuple(_retrained(entry, where) for entry in _list(table.get("retrained", []), "retrained", where)),
    )


def _table(value: object, known: Collection[str] | None, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is no table", "write its settings below a line in brackets")
    unknown = [] if known is None else sorted(value.keys() - set(known))
    if unknown:
        near = difflib.get_close_matches(unknown[0], known or (), n=1)
        hint = f"did you mean {near[0]}?" if near else f"it may hold {', '.join(known or ())}"
        raise UsageError(f"{where} holds {', '.join(unknown)}", hint)
    return value


def _list(value: object, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{name} of {where} is no list", "write it in brackets")
    return value


def _level(value: object, where: str) -> EvidenceLevel:
    if isinstance(value, int) and not isinstance(value, bool) and value in set(EvidenceLevel):
        return EvidenceLevel(value)
    titles = "; ".join(f"{level.value}: {level.looks_at}" for level in EvidenceLevel)
    raise UsageError(f"level of {where} must be one of the numbers of the levels of evidence, not {value!r}", titles)


def _conditions(value: object, where: str) -> tuple[Condition, ...]:
    found: dict[tuple[tuple[str, ...], bool], Condition] = {}
    for text in _list(value, "conditions", where):
        if not isinstance(text, str):
            raise UsageError(f"conditions of {where} must be texts, not {text!r}", EXAMPLE)
        try:
            condition = Condition.parse(text)
        except UsageError as error:
            raise UsageError(f"{where}: {error.message}", error.hint) from error
        if condition.bounds in found:
            raise UsageError(
                f"{where} bounds {condition.metric} twice from one side: {found[condition.bounds]}, {condition}",
                "keep the one that is meant",
            )
        found[condition.bounds] = condition
    return tuple(found.values())


def _count(table: Mapping[str, Any], name: str, where: str) -> int | None:
    value = table.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_WHOLE):
        return value
    raise UsageError(
        f"{name} of {where} must be a whole number of images, at least 1, not {value!r:.40}",
        "a number beyond that of a class's images means all of them, e.g. 1000000",
    )


def _retrained(value: object, where: str) -> RetrainedReference:
    here = f"an entry of retrained in {where}"
    table = _table(value, _RETRAINED_KEYS, here)
    weights, without, by = (table.get(name) for name in _RETRAINED_KEYS)
    if not (isinstance(weights, str) and weights and isinstance(by, str) and by.strip()):
        raise UsageError(
            f"{here} must name weights and by",
            'e.g. weights = "without_cat.safetensors", without = ["cat"], by = "who trained them"',
        )
    if "\0" in weights:
        raise UsageError(f"weights of {here} is no path: {weights!r}", "name a safetensors file")
    if not _are_texts(without):
        raise UsageError(f"without of {here} must be a list of classes", 'e.g. without = ["cat"]')
    return RetrainedReference(weights, frozenset(without), by)


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
