"""What a certificate states, as an in-toto Statement v1 about one version's weights.

Written for a reader who trusts nobody: what was done with which inputs, what was measured by whom, and as plainly
what was not tested and which copies still hold the classes. It names no class, no person and no place on a disk.
Lists that have one item for each class would give a class away by its position, so they are left out or sorted by
digest; their digests bind what the ledger keeps in full.

The payload is RFC 8785 canonical JSON. Fractions stay JSON numbers, in the shortest form that reads back as the same
double, which that RFC fixes; there are no whole numbers beyond 2^53.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.digest import json_digest
from ledger.domain.certificates import KnownVersion
from ledger.domain.class_spaces import ClassSpace, Role
from ledger.domain.evidence import Evidence
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.versions import Version

from .verifier import CLAIM, PREDICATE_TYPE, STATEMENT_TYPE

NOT_OFFERED = (
    "comparison with a model retrained without the classes",
    "relearning attack",
    "probes of inner features",
    "reconstruction from the difference between versions",
)
"""What no evaluator of this package does; the first is struck where other weights were compared with."""
MEMBERSHIP = "membership"


@dataclass(frozen=True)
class Measurement:
    """Evidence, and what the version was compared with."""

    evidence: Evidence
    against: str
    """A version's number, ``file`` for weights from outside the ledger, or ``unknown``."""


@dataclass(frozen=True)
class Export:
    """A copy of a version that was handed out of the ledger."""

    version: int
    at: datetime


@dataclass(frozen=True)
class Facts:
    """Everything a certificate states, as the ledger holds it when it is issued."""

    log: str
    """The name that the ledger signs under."""
    issued_at: datetime
    model: Model
    request: Request
    fulfilled_at: datetime
    gates_missed: int
    """Quality gates that the version missed and a person waived."""
    version: Version
    base: Version
    """Version 0."""
    live: Version
    samples: Sequence[tuple[Role, ClassSpace]]
    """The class spaces of the version's bases."""
    measured: Sequence[Measurement]
    evaluators: Sequence[str]
    """Evaluators that are installed."""
    versions: Sequence[KnownVersion]
    """All versions of the model."""
    exports: Sequence[Export]
    spaces: Sequence[ClassSpace]
    """Stored class spaces of the classes that the request asked to forget."""


def certificate_statement(facts: Facts, commitments: Sequence[str]) -> dict[str, Any]:
    """Return the statement.

    Args:
        facts: What to state.
        commitments: To the classes of the request, in place of their names.
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
            "request": {
                "id": facts.request.id,
                "receivedAt": facts.request.received_at.isoformat(),
                "dueAt": facts.request.due_at.isoformat(),
                "fulfilledAt": facts.fulfilled_at.isoformat(),
                "alreadyForgotten": facts.request.no_op,
                "classes": list(commitments),
            },
            "version": {
                "model": facts.model.name,
                "number": facts.version.number,
                "kind": facts.version.kind.value,
                "live": facts.live.number,
                "liveWeights": facts.live.weights,
            },
            "procedure": _procedure(facts),
            "inputs": _inputs(facts),
            "search": _search(facts.version.recipe.get("search", {})),
            "evidence": _evidence(facts),
            "notTested": _not_tested(facts),
            "copies": _copies(facts),
        },
    }


def substance(statement: dict[str, Any]) -> dict[str, Any]:
    """Return a statement without what differs between two certificates that say the same: salts and the date."""
    predicate = {key: value for key, value in statement["predicate"].items() if key != "issuedAt"}
    request = {key: value for key, value in predicate["request"].items() if key != "classes"}
    return {**statement, "predicate": {**predicate, "request": request}}


def figures(metrics: Mapping[str, Any], labels: Sequence[str], *, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of an evaluator's metrics that give no class away, each with its path.

    Left out are lists, texts, and whatever stands under a name that is a number or contains a class label.
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
    """Whether a label stands in a name as a word of its own; ``_`` parts words as a space does."""
    return re.search(rf"(?<![^\W_]){re.escape(label.casefold())}(?![^\W_])", name.casefold()) is not None


def _procedure(facts: Facts) -> dict[str, Any]:
    recipe, base = facts.version.recipe, facts.base.recipe
    maps = [
        {
            "key": item["key"],
            "change": item["change"],
            "retainRank": item["retain_rank"],
            "forgetRank": item["forget_rank"],
        }
        for item in recipe.get("maps", [])
    ]
    return {
        "solver": recipe.get("solver"),
        "depth": recipe.get("depth"),
        "layers": recipe.get("layers"),
        "alphaRetain": recipe.get("alpha_r"),
        "alphaForget": recipe.get("alpha_f"),
        "effectiveAlphaForget": recipe.get("effective_alpha_f"),
        "edit": recipe.get("edit"),
        "maps": maps,
        "gatesMissed": facts.gates_missed,
        "recipe": json_digest(recipe),
        "architectureCode": base.get("code"),
        "environment": recipe.get("environment", {}),
        "plugins": recipe.get("plugins", {}),
    }


def _inputs(facts: Facts) -> dict[str, Any]:
    samples = (
        {"basis": role.value, "images": len(space.samples), "sha256": space.samples_digest}
        for role, space in facts.samples
    )
    settings, recipe = facts.model.settings, facts.version.recipe
    return {
        # Where an older recipe does not say: from version 0, and the data it came with.
        "baseWeights": recipe.get("base", facts.base.weights if "solver" in recipe else None),
        "data": recipe.get("data", facts.model.data_digest),
        "settings": json_digest(settings.to_json()),
        "seed": settings.seed,
        "samples": sorted(samples, key=lambda item: (item["basis"], item["sha256"])),
    }


def _search(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the search on calibration images; of forgotten classes, the worst one's."""
    if not search:
        return {}
    worst = {key: max(judged[key] for judged in search["forgotten"].values()) for key in ("accuracy", "confidence")}
    return {
        "trials": len(search["trials"]),
        "forgottenWorst": worst,
        "retained": search["retained"],
        "retainedBefore": search["base_retained"],
    }


def _evidence(facts: Facts) -> dict[str, Any]:
    names = {measured.evidence.evaluator for measured in facts.measured}
    level = "applied" if not names else "membership attack" if MEMBERSHIP in names else "outputs"
    return {
        "level": level,
        "measurements": [
            {
                "evaluator": one.evidence.evaluator,
                "plugin": one.evidence.plugin,
                "pluginVersion": one.evidence.plugin_version,
                "measuredAt": one.evidence.created_at.isoformat(),
                "against": one.against,
                "samples": one.evidence.samples,
                "inputs": one.evidence.inputs_digest,
                "figures": dict(figures(one.evidence.metrics, facts.model.labels.labels)),
                "metrics": json_digest(one.evidence.metrics),
            }
            for one in sorted(facts.measured, key=lambda measured: measured.evidence.evaluator)
        ],
    }


def _not_tested(facts: Facts) -> dict[str, Any]:
    ran = {measured.evidence.evaluator for measured in facts.measured}
    compared = any(measured.against == "file" for measured in facts.measured)
    remarks = ["whether the classes can be recovered by means that no evaluator here tries"]
    if compared:
        remarks.append("whether the weights from outside that were compared with were retrained without the classes")
    return {
        "evaluators": sorted(set(facts.evaluators) - ran),
        "methods": list(NOT_OFFERED[1:] if compared else NOT_OFFERED),
        "remarks": remarks,
    }


def _copies(facts: Facts) -> dict[str, Any]:
    """Return the versions whose weights still hold a class of the request, and what else does."""
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
        "statistics": sorted(space.blob for space in facts.spaces),
        "remark": "copies outside this ledger, and images of the classes, are not known to it",
    }
