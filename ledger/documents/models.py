"""Documents about models, their versions and what was measured on them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.domain.class_spaces import ClassSpace
from ledger.domain.evidence import Evidence, WeightsEvidence
from ledger.domain.gate_policy import ModelGates
from ledger.domain.image_policy import image_policy
from ledger.domain.levels import EvidenceLevel
from ledger.domain.models import Model
from ledger.domain.registered_accuracy import RegisteredAccuracy
from ledger.domain.versions import Version

from .document import Document, document, listing

if TYPE_CHECKING:
    from ledger.networks.coverage import ParameterCoverage
    from ledger.service.computation.diff import TensorDifference
    from ledger.service.evidence.evaluation import Evaluation
    from ledger.service.versions.model_history import ModelHistory


def model_part(value: Model, live: Version) -> Document:
    """Return a model and what is live."""
    return {
        "id": value.id,
        "name": value.name,
        "architecture": value.architecture.spec,
        "options": value.architecture.options,
        "labels": list(value.labels.labels),
        "data": value.data_spec,
        "data_digest": value.data_digest,
        "preprocessing": value.preprocessing.to_json(),
        "images": image_policy(value.data_spec, value.preprocessing, value.data.options),
        "settings": value.settings.to_json(),
        "created_at": value.created_at,
        "live": live.number,
        "anchor": value.anchor,
        "forgotten": list(value.labels.names(live.forgotten)),
    }


def version_part(value: Version, owner: Model, live: int, measured: WeightsEvidence | None = None) -> Document:
    """Return a version.

    Args:
        value: The version.
        owner: Its model.
        live: Number of the live version.
        measured: The evidence on its weights, where that was asked for.
    """
    told = {} if measured is None else {"level": measured.level.value, "test_accuracy": _test_accuracy(measured)}
    return {
        "model": owner.name,
        "model_id": owner.id,
        "version": value.number,
        "live": value.number == live,
        "kind": value.kind.value,
        "parent": value.parent,
        "request": value.request_id,
        "restores": value.restores,
        "forgotten": list(owner.labels.names(value.forgotten)),
        "weights": value.weights,
        "recipe": value.recipe.to_json(),
        "created_at": value.created_at,
        "quarantined": value.quarantined,
        "purged_at": value.purged_at,
        **told,
    }


def evidence_part(value: Evidence) -> Document:
    """Return what an evaluator measured."""
    return {
        "evaluator": value.evaluator,
        "plugin": value.plugin,
        "plugin_version": value.plugin_version,
        "metrics": value.metrics,
        "samples": value.samples,
        "inputs_digest": value.inputs_digest,
        "created_at": value.created_at,
        "against": value.provenance.against or None,
        "compared": value.provenance.compared or None,
        "retrained": value.provenance.retrained,
        "declared_by": value.provenance.declared_by,
    }


def models_document(models: Iterable[tuple[Model, Version]]) -> Document:
    """Return every model, each with its live version."""
    return listing("models", (model_part(model, live) for model, live in models))


def accuracy_part(value: RegisteredAccuracy | None, owner: Model) -> Document | None:
    """Return how well the registered weights answered; None if it was not recorded."""
    if value is None:
        return None
    counts = {label: value.of_class(k) for k, label in enumerate(owner.labels.labels)}
    return {
        "test": value.of_test._asdict(),
        "train": value.of_train._asdict(),
        "classes": {label: count._asdict() for label, count in counts.items() if count.images},
        "outputs": value.outputs,
        "accepted": value.accepted,
        "remarks": list(value.remarks),
    }


def gates_part(value: ModelGates, digest: str) -> Document:
    """Return the gates that new versions of a model have to pass.

    Args:
        value: The gates.
        digest: Their digest.
    """
    return {
        "level": value.policy.level.value,
        "conditions": [str(condition) for condition in value.policy.conditions],
        "test_per_class": value.policy.test_per_class,
        "train_per_class": value.policy.train_per_class,
        "test_images": value.policy.test_images,
        "train_images": value.policy.train_images,
        "max_forgotten_accuracy": value.max_forgotten_accuracy,
        "max_retained_drop": value.max_retained_drop,
        "retrained": [
            {"weights": one.weights, "without": sorted(one.without), "by": one.by} for one in value.policy.retrained
        ],
        "digest": digest,
    }


def model_document(known: "ModelHistory", shown: Version) -> Document:
    """Return a model, one version of it, and the newest evidence on that version."""
    owner, live = known.model, known.live
    body = model_part(owner, live)
    body["accuracy"] = accuracy_part(known.versions[0].recipe.registered_accuracy, owner)
    body["version"] = version_part(shown, owner, live.number)
    body["evidence"] = [evidence_part(one) for one in known.evidence[shown.number].values()]
    body["gates"] = gates_part(known.gates, known.gates_digest)
    return document("model", body)


def versions_document(
    owner: Model, versions: Iterable[Version], live: int, measured: Mapping[int, WeightsEvidence]
) -> Document:
    """Return versions of a model, each with the level of evidence on its weights, and their accuracy."""
    return listing("versions", (version_part(version, owner, live, measured[version.number]) for version in versions))


def _test_accuracy(measured: WeightsEvidence) -> Document | None:
    accuracy = measured.standing.get("accuracy")
    if accuracy is None:
        return None
    test = accuracy.metrics["test"]
    return {name: test.get(name) for name in ("retained", "forgotten")}


def evidence_document(owner: Model, version: Version, measured: WeightsEvidence) -> Document:
    """Return what was measured on a version's weights, and what was not."""
    level = measured.level
    body = {
        "model": owner.name,
        "model_id": owner.id,
        "version": version.number,
        "weights": version.weights,
        "level": level.value,
        "title": level.title,
        "looks_at": level.looks_at,
        "not_tested": {other.title: measured.missing(other) for other in EvidenceLevel if other > level},
        "items": [evidence_part(one) for one in measured.shown.values()],
        "compared": [evidence_part(one) for one in measured.compared],
    }
    return document("evidence", body)


def diff_document(differences: "Iterable[TensorDifference]") -> Document:
    """Return the tensors that differ between two versions."""
    return listing("diff", (vars(difference) for difference in differences))


def objects_document(results: Iterable[tuple[str, str]]) -> Document:
    """Return which stored objects of a model were read, each with its problem or None."""
    return listing("verification", ({"object": name, "problem": problem or None} for name, problem in results))


def coverage_document(parameters: "Iterable[ParameterCoverage]") -> Document:
    """Return how each parameter is treated."""
    return listing("coverage", ({**vars(p), "treatment": p.treatment.value} for p in parameters))


def class_spaces_document(owner: Model, spaces: Iterable[ClassSpace]) -> Document:
    """Return the stored class spaces of a model."""
    return listing("class_spaces", (_class_space_part(one, owner) for one in spaces))


def _class_space_part(value: ClassSpace, owner: Model) -> Document:
    return {
        "id": value.id,
        "model_id": value.model_id,
        "class": owner.labels[value.class_index],
        "class_index": value.class_index,
        "spec_digest": value.spec_digest,
        "samples": value.samples,
        "samples_digest": value.samples_digest,
        "blob": value.object_digest,
        "size": value.size,
        "maps": [vars(one) for one in value.maps],
        "created_at": value.created_at,
        "anchor": value.anchor,
    }


def evaluation_document(result: "Evaluation") -> Document:
    """Return what was measured on a version."""
    body = {
        "model": result.model.name,
        "version": result.version.number,
        "forgotten": list(result.model.labels.names(result.version.forgotten)),
        "evidence": [evidence_part(one) for one in result.evidence.values()],
        "compared": [evidence_part(one) for one in result.compared],
        "level": result.standing.level.value,
        "not_tested": {
            level.title: result.standing.missing(level) for level in EvidenceLevel if level > result.standing.level
        },
        "measured_before": result.measured_before,
        "not_known_before": list(result.model.labels.names(result.not_known_before)),
    }
    return document("evaluation", body)


def exported_document(name: str, version: Version, folder: Path) -> Document:
    """Return which version was written to which folder."""
    body = {"model": name, "version": version.number, "weights": version.weights, "folder": str(folder)}
    return document("exported", body)


def report_document(name: str | None, output: Path, written: Iterable[Path]) -> Document:
    """Return where a report on a model, or on all of them, was written, and every file of it."""
    files = [str(path) for path in written]
    return document("report", {"model": name, "output": str(output), "files": files})
