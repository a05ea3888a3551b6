"""What a certificate states, as an in-toto Statement v1 about one version's weights.

The reader need not trust the issuer. The statement says what was done with which inputs and which evaluator measured
what, and also what was not tested and which copies still hold the classes. It contains no class names, no file paths
and no persons but who declares weights to be those of a retrained network. A list with one item for each class would
reveal a class by its position, so such lists are left out or sorted by digest; digests bind the statement to the
complete data in the ledger.

Evidence is that of the weights. What counts is the comparison with the original; a comparison with anything else that
somebody asked for is stated beside it, so that none can replace it.

The payload is RFC 8785 canonical JSON. Fractions are JSON numbers in the shortest form that reads back as the same
double, as that RFC demands; there are no whole numbers beyond 2^53. Figures that are shares lie between 0 and 1.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.digest import json_digest
from ledger.domain.certificates import KnownVersion
from ledger.domain.class_spaces import ClassSpace, Role
from ledger.domain.evidence import BASE, Evidence, WeightsEvidence
from ledger.domain.image_counts import FEW_IMAGES, tested_images
from ledger.domain.levels import EvidenceLevel
from ledger.domain.models import Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import Request
from ledger.domain.versions import Version

from .verifier import CLAIM, PREDICATE_TYPE, STATEMENT_TYPE

NOT_OFFERED = ("reconstruction from the difference between versions",)
"""Methods that no evaluator here offers."""


@dataclass(frozen=True)
class ExportedCopy:
    """A copy of a version's weights that was exported from the ledger."""

    version: int
    at: datetime


@dataclass(frozen=True)
class WaivedGates:
    """Quality gates that a version missed and a person waived."""

    missed: int
    names: Sequence[str] = ()
    """Of those that were missed; earlier releases did not record them."""
    policy: str | None = None
    """Digest of the gates that held; None where nothing was measured, and in earlier releases."""


@dataclass(frozen=True)
class CertificateFacts:
    """The data that a certificate is made of, as the ledger held it when the certificate was issued."""

    log: str
    """The name under which the ledger signs."""
    issued_at: datetime
    model: Model
    request: Request
    fulfilled_at: datetime
    gates: WaivedGates
    """Quality gates that the version missed and a person waived."""
    version: Version
    base: Version
    """Version 0."""
    live: Version
    samples: Sequence[tuple[Role, ClassSpace]]
    """The class spaces of the version's retain and forget bases."""
    evidence: WeightsEvidence
    """All that was measured on the version's weights."""
    evaluators: Sequence[str]
    """Names of the installed evaluators."""
    versions: Sequence[KnownVersion]
    """All versions of the model."""
    exports: Sequence[ExportedCopy]
    spaces: Sequence[ClassSpace]
    """Stored class spaces of the classes that the request asked to forget."""
    not_known_before: int | None = None
    """Classes of the request that were recognised no better than chance before; None if that was not recorded."""
    clock_doubted: bool = False
    """Whether something speaks against the clock, so that the times in the certificate may be wrong."""


def certificate_statement(facts: CertificateFacts, commitments: Sequence[str]) -> dict[str, Any]:
    """Return the statement.

    Args:
        facts: The data to state.
        commitments: Commitments to the classes of the request, in place of their names; hexadecimal.
    """
    name = f"{facts.model.name}:{facts.version.number}"
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": facts.version.weights}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "claim": CLAIM,
            "log": facts.log,
            "issuedAt": facts.issued_at.isoformat(),
            **({"clockDoubted": True} if facts.clock_doubted else {}),
            "request": {
                "id": facts.request.id,
                "receivedAt": facts.request.received_at.isoformat(),
                "dueAt": facts.request.due_at.isoformat(),
                "fulfilledAt": facts.fulfilled_at.isoformat(),
                "alreadyForgotten": facts.request.no_op,
                "classes": list(commitments),
                **_not_known_before(facts),
            },
            "version": {
                "model": facts.model.name,
                "number": facts.version.number,
                "kind": facts.version.kind.value,
                "live": facts.live.number,
                "isLive": facts.version.weights == facts.live.weights,
                "liveWeights": facts.live.weights,
            },
            "procedure": _procedure(facts),
            "inputs": _inputs(facts),
            "search": _search(facts.version.recipe),
            "evidence": _evidence(facts),
            "notTested": _not_tested(facts),
            "copies": _copies(facts),
        },
    }


def substance(statement: dict[str, Any]) -> dict[str, Any]:
    """Return a statement without its commitments and date, which differ even between certificates that say the same."""
    predicate = {key: value for key, value in statement["predicate"].items() if key != "issuedAt"}
    request = {key: value for key, value in predicate["request"].items() if key != "classes"}
    return {**statement, "predicate": {**predicate, "request": request}}


def figures(metrics: Mapping[str, Any], labels: Sequence[str], *, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in an evaluator's metrics that do not reveal a class, each with its path.

    Lists and texts are left out, and everything under a name that is a number or contains a class label.
    """
    for name, value in sorted(metrics.items()):
        if name.isdecimal() or any(_contains(name, label) for label in labels):
            continue
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from figures(value, labels, path=here)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield here, value


def _contains(name: str, label: str) -> bool:
    """Whether a name contains a label as a whole word; ``_`` separates words as a space does."""
    return re.search(rf"(?<![^\W_]){re.escape(label.casefold())}(?![^\W_])", name.casefold()) is not None


def _not_known_before(facts: CertificateFacts) -> dict[str, int]:
    """Return how many of the request's classes the model knew no better than chance before; nothing if unrecorded."""
    return {} if facts.not_known_before is None else {"notKnownBefore": facts.not_known_before}


def _procedure(facts: CertificateFacts) -> dict[str, Any]:
    recipe = facts.version.recipe
    maps = [
        {"key": one.key, "change": one.change, "retainRank": one.retain_rank, "forgetRank": one.forget_rank}
        for one in recipe.maps
    ]
    return {
        "solver": recipe.solver,
        "depth": recipe.depth,
        "layers": recipe.layers,
        "alphaRetain": recipe.alpha_r,
        "alphaForget": recipe.alpha_f,
        "effectiveAlphaForget": recipe.effective_alpha_f,
        "edit": recipe.edit,
        "maps": maps,
        "gatesMissed": facts.gates.missed,
        **_gates(facts),
        "recipe": json_digest(recipe.to_json()),
        "architectureCode": facts.base.recipe.code,
        "environment": recipe.environment,
        "plugins": recipe.plugins,
    }


def _gates(facts: CertificateFacts) -> dict[str, Any]:
    """Return the digest of the policy that held, and the gates that were missed; their names reveal no class."""
    if facts.gates.policy is None:
        return {}
    return {"gates": {"policy": facts.gates.policy, "missed": sorted(facts.gates.names)}}


def _inputs(facts: CertificateFacts) -> dict[str, Any]:
    samples = (
        {"basis": role.value, "images": len(space.samples), "sha256": space.samples_digest}
        for role, space in facts.samples
    )
    settings, recipe = facts.model.settings, facts.version.recipe
    return {
        # Older recipes do not name them: those started from version 0 and the data it was registered with.
        "baseWeights": recipe.base or (facts.base.weights if recipe.computed else None),
        "data": recipe.data or facts.model.data_digest,
        "settings": json_digest(settings.to_json()),
        "seed": settings.seed,
        "samples": sorted(samples, key=lambda item: (item["basis"], item["sha256"])),
    }


def _search(recipe: VersionRecipe) -> dict[str, Any]:
    """Return the search's figures on calibration images, as shares; for forgotten classes the highest of each."""
    if not recipe.searched:
        return {}
    scores = [scores.to_json() for scores in recipe.forgotten.values()]
    worst = {
        key: max((one[key] for one in scores if one[key] is not None), default=None)
        for key in ("accuracy", "confidence")
    }
    masked = recipe.mask_retained
    return {
        "trials": recipe.trial_count,
        "forgottenWorst": worst,
        "retained": recipe.retained.to_json(),
        "retainedBefore": recipe.base_retained.to_json(),
        # Recipes of earlier releases do not hold it, and their certificates say what they said.
        **({} if masked.accuracy is None else {"retainedMasked": masked.to_json()}),
    }


def _evidence(facts: CertificateFacts) -> dict[str, Any]:
    level, standing = facts.evidence.level, facts.evidence.standing
    images = tested_images(standing, facts.request.classes)
    return {
        "level": level.title,
        "looksAt": level.looks_at,
        "measurements": [{**_measurement(one, facts), "against": _against(one)} for _, one in sorted(standing.items())],
        "compared": [_comparison(one, facts) for one in _in_order(facts.evidence.compared)],
        "retrained": _retrained(facts.evidence),
        **({} if images is None else {"fewestTestImages": min(images), "fewTestImages": _few(images)}),
    }


def _few(images: Sequence[int]) -> int:
    """Return how many of the request's classes were measured on few test images."""
    return sum(count < FEW_IMAGES for count in images)


def _measurement(one: Evidence, facts: CertificateFacts) -> dict[str, Any]:
    elsewhere = one.version is not None and one.version != facts.version.number
    return {
        "evaluator": one.evaluator,
        "plugin": one.plugin,
        "pluginVersion": one.plugin_version,
        "builtIn": one.built_in,
        "measuredAt": one.created_at.isoformat(),
        # The version whose weights are the same, where it was measured under another number.
        **({"measuredOn": one.version} if elsewhere else {}),
        "samples": one.samples,
        "inputs": one.inputs_digest,
        "figures": dict(figures(one.metrics, facts.model.labels.labels)),
        "metrics": json_digest(one.metrics),
    }


def _against(one: Evidence) -> str:
    """Return what evidence compares with: a version's number, ``file``, or ``unknown`` for an earlier release's."""
    against = one.provenance.against
    return "0" if against == BASE else against or "unknown"


def _in_order(compared: Iterable[Evidence]) -> list[Evidence]:
    return sorted(compared, key=lambda one: (one.evaluator, one.provenance.against, one.provenance.compared))


def _comparison(one: Evidence, facts: CertificateFacts) -> dict[str, Any]:
    """Return a comparison with something else than the original, and whether that is this very model."""
    own = [version.number for version in facts.versions if version.weights == one.provenance.compared]
    return {
        **_measurement(one, facts),
        "against": _against(one),
        "weights": one.provenance.compared,
        "ownVersions": own,
        "exported": any(copy.version in own for copy in facts.exports),
    }


def _retrained(evidence: WeightsEvidence) -> list[dict[str, Any]]:
    """Return the weights that somebody declared to be trained without the classes, with what was measured beside."""
    beside: dict[tuple[str, str], list[str]] = {}
    for name, one in evidence.beside_retrained.items():
        declared = str(one.provenance.retrained), one.provenance.declared_by or ""
        beside.setdefault(declared, []).append(name)
    return [
        {"weights": weights, "declaredBy": by, "evaluators": sorted(names)}
        for (weights, by), names in sorted(beside.items())
    ]


def _not_tested(facts: CertificateFacts) -> dict[str, Any]:
    remarks = ["whether the classes can be recovered by means that no evaluator here tries"]
    if facts.evidence.beside_retrained:
        remarks.append("whether the weights declared as retrained were trained without the classes")
    return {
        "evaluators": sorted(set(facts.evaluators) - facts.evidence.standing.keys()),
        "levels": {
            level.title: facts.evidence.missing(level) for level in EvidenceLevel if level > facts.evidence.level
        },
        "methods": list(NOT_OFFERED),
        "remarks": remarks,
    }


def _copies(facts: CertificateFacts) -> dict[str, Any]:
    """Return what still holds a class of the request: versions, exported copies and class spaces."""
    holding = [version for version in facts.versions if not facts.request.classes <= version.forgotten]
    numbers = {version.number for version in holding}
    return {
        "stored": [
            {"version": v.number, "weights": v.weights, "aliases": list(v.aliases)}
            for v in holding
            if v.destroyed_at is None
        ],
        "destroyed": [
            {"version": v.number, "weights": v.weights, "at": v.destroyed_at.isoformat()}
            for v in holding
            if v.destroyed_at is not None
        ],
        "exported": [
            {"version": export.version, "at": export.at.isoformat()}
            for export in facts.exports
            if export.version in numbers
        ],
        "statistics": sorted(space.object_digest for space in facts.spaces),
        "remark": "copies outside this ledger, and images of the classes, are not known to it",
    }
