"""Evidence: the measurements of evaluators, and which of them speak for which weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from .levels import EvidenceLevel, level_of, missing_for

BASE = "base"
"""What a version is compared with unless somebody asks for something else: version 0."""
FILE = "file"
"""Weights from outside the ledger."""


@dataclass(frozen=True)
class Provenance:
    """Where measurements come from; every field is empty in evidence of earlier releases."""

    weights: str = ""
    """SHA-256 of the weights that were measured."""
    against: str = ""
    """What they were compared with: ``base``, a version's number, or ``file``."""
    compared: str = ""
    """SHA-256 of what they were compared with."""
    retrained: str | None = None
    """SHA-256 of the weights that somebody declared to be trained without the forgotten classes; None without such."""
    declared_by: str | None = None
    """Who declared that."""
    seed: int | None = None
    """Seed of the samples, and of what evaluators draw."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Versions of libraries, device and number of threads."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; nothing of earlier releases' evidence."""
        return {} if self == Provenance() else {**asdict(self), "environment": dict(self.environment)}

    @classmethod
    def read(cls, value: object) -> "Provenance":
        """Read from JSON values of any kind; what is missing or malformed is empty."""
        found = value if isinstance(value, Mapping) else {}
        texts = {name: found[name] for name in ("weights", "against", "compared") if isinstance(found.get(name), str)}
        optional = {n: found[n] for n in ("retrained", "declared_by") if isinstance(found.get(n), str)}
        seed, environment = found.get("seed"), found.get("environment")
        return cls(
            **texts,
            **optional,
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
            environment=environment if isinstance(environment, Mapping) else {},
        )


UNKNOWN_PROVENANCE = Provenance()
"""Of evidence that an earlier release recorded."""


@dataclass(frozen=True)
class Evidence:
    """The measurements of one evaluator on one version."""

    evaluator: str
    plugin: str
    """Name of the plugin that offers the evaluator."""
    plugin_version: str
    metrics: dict[str, Any]
    """The evaluator's results, as plain JSON values."""
    samples: dict[str, int]
    """Number of images, by what they were used for."""
    inputs_digest: str
    """Digest of the inputs: both weights, the data and the numbers of images."""
    created_at: datetime
    provenance: Provenance = UNKNOWN_PROVENANCE
    version: int | None = field(default=None, compare=False)
    """The version that it was recorded for, once it is; others may have the same weights."""

    @property
    def built_in(self) -> bool:
        """Whether the evaluator that comes with unledger measured it, not another one under its name."""
        return self.plugin == f"eval_{self.evaluator}"

    @property
    def tested(self) -> bool:
        """Whether the evaluator had anything to test: where not, built-in ones return no figure, and say why.

        A test that is not about a network, as that of batch statistics where there are no such layers, leaves nothing
        untested.
        """
        # Of a row that somebody changed, reports show what they can.
        found = self.metrics if isinstance(self.metrics, Mapping) else {}
        return not found.get("reason") or found.get("layers") == 0


@dataclass(frozen=True)
class WeightsEvidence:
    """All that was measured on one state of a model's weights, under whichever version number."""

    measured: tuple[Evidence, ...]
    """Oldest first, in the order of recording."""
    anchor: int = 0
    """The version that the model's computations start from."""

    @property
    def standing(self) -> dict[str, Evidence]:
        """The newest comparison with the original, by evaluator: what is said of the weights unless asked otherwise.

        A comparison with anything else stands beside it and never replaces it. After a purge, where the original was
        never compared with, what computations start from takes its place. Where an earlier release recorded evidence
        without saying against what, it counts until something else is measured.
        """
        found: dict[str, Evidence] = {}
        for against in ("", str(self.anchor), BASE):
            found |= {one.evaluator: one for one in self.measured if one.provenance.against == against}
        return found

    @property
    def beside_retrained(self) -> dict[str, Evidence]:
        """The newest evidence that was measured beside a retrained network as well, by evaluator.

        Of several, one that compares with the original counts before any that compares with something else.
        """
        found = [one for one in self.measured if one.provenance.retrained is not None]
        with_original = [one for one in found if one.provenance.against in ("", str(self.anchor), BASE)]
        return {one.evaluator: one for one in (*found, *with_original)}

    @property
    def declarations(self) -> list[tuple[str, str]]:
        """SHA-256 of each of these networks and who declared it to be one, which nobody can see from its weights."""
        named = {(one.provenance.retrained or "", one.provenance.declared_by or "") for one in self.measured}
        return sorted(pair for pair in named if pair[0])

    @property
    def shown(self) -> dict[str, Evidence]:
        """What a document shows of each evaluator: the newest comparison with the original.

        Where an earlier one had a retrained network beside it and the newest has not, the earlier one is shown: it is
        about the same weights, and says more.
        """
        beside = self.beside_retrained
        return {name: _beside(one, beside.get(name)) for name, one in self.standing.items()}

    @property
    def compared(self) -> tuple[Evidence, ...]:
        """The newest comparisons with something else than the original, one for each evaluator and counterpart."""
        standing = self.standing
        newest = {
            (one.evaluator, one.provenance.against, one.provenance.compared): one
            for one in self.measured
            if one.provenance.against not in ("", BASE) and standing.get(one.evaluator) is not one
        }
        return tuple(newest.values())

    @property
    def level(self) -> EvidenceLevel:
        """How much was tested. Only built-in evaluators count: what others measure under a name is theirs to say.

        One that ran and had nothing to test, for want of images for example, reaches no level.
        """
        return level_of(_built_in(self.standing), _built_in(self.beside_retrained))

    def missing(self, level: EvidenceLevel) -> list[str]:
        """Return what a level still needs."""
        return missing_for(level, _built_in(self.standing), _built_in(self.beside_retrained))


def _beside(standing: Evidence, retrained: Evidence | None) -> Evidence:
    """Return which evidence to show: that beside a retrained network, if it compares with the same original."""
    if standing.provenance.retrained is not None or retrained is None:
        return standing
    return retrained if retrained.provenance.against == standing.provenance.against else standing


def _built_in(measured: Mapping[str, Evidence]) -> list[str]:
    return [name for name, one in measured.items() if one.built_in and one.tested]
