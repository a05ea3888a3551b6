"""Reading without changing: status, doctor, export, verify, diff, coverage, evaluate, preview."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ledger.config import find_config
from ledger.digest import sha256_hex
from ledger.documents.requests import preview_document
from ledger.domain.models import Architecture
from ledger.domain.states import Action, RequestState
from ledger.errors import ConflictError, NotFoundError, UsageError, WeightsError
from ledger.networks.coverage import Treatment
from ledger.service.computation.diff import diff
from ledger.service.evidence.evaluation import evaluate
from ledger.service.models.coverage import coverage
from ledger.service.progress import Silent
from ledger.service.requests.listing import list_requests
from ledger.service.requests.preview import preview
from ledger.service.requests.status import status
from ledger.service.upkeep.doctor import doctor
from ledger.service.versions.export import export
from ledger.service.versions.integrity import verify
from ledger.service.versions.model_history import list_models, read_model_history
from ledger.weights import tensor_files
from tests.fixtures.documents import check_document

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.desk import Desk

MODEL = "digits"


# -- what is live, open, late -------------------------------------------------------------------------


def test_what_was_live_is_known_for_every_moment(two_forgotten: Desk) -> None:
    start = two_forgotten.now
    two_forgotten.later(days=3)
    two_forgotten.withdraw(1)
    known = read_model_history(two_forgotten.ledger, MODEL)
    assert known.live_at(start - timedelta(microseconds=1)) is None
    assert known.live_at(start) == 2
    assert known.live_at(start + timedelta(days=3, microseconds=-1)) == 2
    assert known.live_at(start + timedelta(days=3)) == 3
    assert list_models(two_forgotten.ledger) == [(known.model, known.live)]


def test_only_open_requests_can_be_late(two_forgotten: Desk) -> None:
    late = two_forgotten.file(0)
    waiting = two_forgotten.file(1, due_at=two_forgotten.now + timedelta(days=90))
    two_forgotten.decide(two_forgotten.file(2).id, Action.DENY)
    assert status(two_forgotten.ledger).overdue == ()
    two_forgotten.now = late.due_at
    assert status(two_forgotten.ledger).overdue == ()
    two_forgotten.later(days=1 / 86400)
    found = status(two_forgotten.ledger)
    assert [request.id for request in found.overdue] == [late.id]
    [only] = found.models
    assert [request.id for request in only.open] == [late.id, waiting.id]
    assert only.states == {RequestState.FULFILLED: 2, RequestState.QUEUED: 2, RequestState.DENIED: 1}
    assert status(two_forgotten.ledger, MODEL).models == found.models
    with pytest.raises(NotFoundError):
        status(two_forgotten.ledger, "nobody")


def test_a_reopened_request_is_late_on_its_first_due_date(two_forgotten: Desk) -> None:
    due = two_forgotten.request(2).due_at
    two_forgotten.later(days=40)
    two_forgotten.roll_back(1)
    assert [(request.id, request.due_at) for request in status(two_forgotten.ledger).overdue] == [(2, due)]


def test_requests_are_listed_by_model_and_state(two_forgotten: Desk) -> None:
    two_forgotten.file(0)
    everything = list_requests(two_forgotten.ledger)
    assert [request.id for _, request in everything] == [1, 2, 3]
    assert list_requests(two_forgotten.ledger, MODEL) == everything
    assert [r.id for _, r in list_requests(two_forgotten.ledger, None, [RequestState.QUEUED])] == [3]


# -- is it all there ----------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_wrong(two_forgotten: Desk) -> None:
    with two_forgotten.unchanged():
        checks = doctor(find_config(two_forgotten.root))
    assert [check.name for check in checks] == [
        *("database", "writable", "audit log", "checkpoints", "clock", "object store", "permissions"),
        *("engine", "plugins"),
    ]
    assert all(check.ok for check in checks), checks


def test_the_doctor_goes_on_after_what_fails(two_forgotten: Desk) -> None:
    weights = two_forgotten.live().weights
    (two_forgotten.root / "objects" / weights[:2] / weights[2:]).unlink()
    with two_forgotten.ledger.database.read() as tx:
        count = len(list(tx.objects.kept()))
    checks = {check.name: check for check in doctor(find_config(two_forgotten.root))}
    assert [name for name, check in checks.items() if not check.ok] == ["object store"]
    assert f"1 of {count} objects are missing" in checks["object store"].detail


def test_the_doctor_looks_no_further_in_a_database_that_is_none(two_forgotten: Desk) -> None:
    two_forgotten.close()
    (two_forgotten.root / "ledger.db").write_bytes(b"not a database" * 100)
    checks = {check.name: check.ok for check in doctor(find_config(two_forgotten.root))}
    assert checks == {"database": False, "permissions": True, "engine": True, "plugins": True}


@pytest.mark.parametrize("victim", ["version 1", "a class space"])
def test_one_flipped_bit_is_found_and_named(two_forgotten: Desk, victim: str) -> None:
    assert {problem for _, problem in verify(two_forgotten.ledger, MODEL)} == {""}
    known = read_model_history(two_forgotten.ledger, MODEL)
    digest = known.versions[1].weights if victim == "version 1" else known.spaces[0].object_digest
    path = two_forgotten.root / "objects" / digest[:2] / digest[2:]
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    [(name, problem)] = [check for check in verify(two_forgotten.ledger, MODEL) if check[1]]
    assert name == ("version 1" if victim == "version 1" else "class space of 0 (40 images)")
    assert "altered" in problem
    assert digest in problem


# -- weights in and out -------------------------------------------------------------------------------


def test_what_is_exported_can_be_registered_again(two_forgotten: Desk, tmp_path: Path) -> None:
    version = export(two_forgotten.ledger, MODEL, 2, tmp_path / "out")
    assert [event.data for event in two_forgotten.events("version.exported")] == [
        {"version": 2, "weights": version.weights}
    ]
    weights, config = tmp_path / "out" / "model.safetensors", json.loads((tmp_path / "out" / "config.json").read_text())
    assert sha256_hex(weights.read_bytes()) == version.weights == config["unledger"]["weights_sha256"]
    assert config["unledger"]["forgotten"] == [3, 7]
    assert config["label_names"] == [str(digit) for digit in range(10)]
    assert config["num_classes"] == 10
    pretrained = config["pretrained_cfg"]
    size = dict(zip(("channels", "height", "width"), pretrained["input_size"], strict=True))
    again = two_forgotten.register(
        "again",
        architecture=Architecture(config["architecture"], config["model_args"]),
        weights=weights,
        labels=tuple(config["label_names"]),
        preprocessing=size | {name: tuple(pretrained[name]) for name in ("mean", "std")},
    )
    assert two_forgotten.live("again").weights == version.weights
    assert again.preprocessing == read_model_history(two_forgotten.ledger, MODEL).model.preprocessing

    measured = evaluate(two_forgotten.ledger, "again", 0, Silent(), only=["accuracy"], train_per_class=1)
    assert measured.evidence["accuracy"].metrics["test"]["per_class"] == two_forgotten.test_accuracy(2)


def test_an_export_never_overwrites(two_forgotten: Desk, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("full", "file"):
        with pytest.raises(ConflictError, match="not an empty folder"):
            export(two_forgotten.ledger, MODEL, None, tmp_path / name)
    (tmp_path / "empty").mkdir()
    export(two_forgotten.ledger, MODEL, None, tmp_path / "empty")


def test_a_difference_names_the_edited_tensors_only(two_forgotten: Desk) -> None:
    differing = diff(two_forgotten.ledger, MODEL, 0, 2)
    depth = two_forgotten.live().recipe.document["depth"]
    assert {d.name for d in differing} == {f"{n}.weight" for n in (0, 2, 6, 8)[-depth:]}
    assert all(0 < d.relative < 2 and d.largest > 0 for d in differing)
    assert diff(two_forgotten.ledger, MODEL, 1, 1) == []
    with pytest.raises(NotFoundError):
        diff(two_forgotten.ledger, MODEL, 0, 9)


def test_coverage_names_every_parameter(two_forgotten: Desk) -> None:
    covered = coverage(two_forgotten.ledger, MODEL)
    state = tensor_files.parse(two_forgotten.digits.weights.read_bytes(), "the weights")
    assert {parameter.name for parameter in covered} == set(state)
    edited = {parameter.name for parameter in covered if parameter.treatment is Treatment.EDITED}
    assert edited == {name for name in state if name.endswith("weight")}


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float64"])
def test_weights_of_another_precision_stay_in_it(desk: Desk, tmp_path: Path, precision: str) -> None:
    import torch

    state = tensor_files.parse(desk.digits.weights.read_bytes(), "the weights")
    stored = {name: tensor.to(getattr(torch, precision)) for name, tensor in state.items()}
    (tmp_path / "stored.safetensors").write_bytes(tensor_files.serialise(stored))
    desk.register("stored", weights=tmp_path / "stored.safetensors")
    version = desk.forget(3, model="stored")
    after = tensor_files.parse(desk.ledger.objects.get(version.weights), "version 1")
    assert {str(tensor.dtype) for tensor in after.values()} == {f"torch.{precision}"}
    measured = evaluate(desk.ledger, "stored", 1, Silent(), only=["accuracy"], train_per_class=1)
    metrics = measured.evidence["accuracy"].metrics
    assert metrics["base_test"]["per_class"][3] > 0.9
    assert metrics["test"]["per_class"][3] <= 0.05


# -- evidence -----------------------------------------------------------------------------------------


def test_evidence_is_kept_with_what_it_was_measured_on(two_forgotten: Desk) -> None:
    measured = evaluate(two_forgotten.ledger, MODEL, 2, Silent(), train_per_class=20)
    assert set(measured.evidence) == {"accuracy", "confusion", "divergence", "membership"}
    kept = read_model_history(two_forgotten.ledger, MODEL).evidence
    assert kept == {0: {}, 1: {}, 2: measured.evidence}
    accuracy = measured.evidence["accuracy"]
    assert accuracy.samples == {"train images": 200, "test images": 450}
    assert accuracy.plugin == "eval_accuracy"
    assert accuracy.created_at == two_forgotten.now
    matrix = measured.evidence["confusion"].metrics["matrix"]
    assert sum(map(sum, matrix)) == 450
    assert sum(matrix[3][k] for k in (3, 7)) <= 2
    assert measured.evidence["membership"].metrics["paper"] >= 0.9
    events = two_forgotten.events("version.evaluated")
    assert [event.data["evaluator"] for event in events] == ["accuracy", "confusion", "divergence", "membership"]


def test_measuring_again_gives_the_same_numbers_and_replaces_none(two_forgotten: Desk) -> None:
    first = evaluate(two_forgotten.ledger, MODEL, 2, Silent(), train_per_class=5)
    second = evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=5)
    assert {name: e.metrics for name, e in first.evidence.items()} == {
        name: e.metrics for name, e in second.evidence.items()
    }
    assert {e.inputs_digest for e in first.evidence.values()} == {e.inputs_digest for e in second.evidence.values()}
    assert len(two_forgotten.events("version.evaluated")) == 2 * len(first.evidence)


def test_a_version_is_compared_with_another_one(two_forgotten: Desk) -> None:
    against_base = evaluate(two_forgotten.ledger, MODEL, 2, Silent(), only=["accuracy"], against="base")
    against_first = evaluate(two_forgotten.ledger, MODEL, 2, Silent(), only=["accuracy"], against="1")
    [beside] = against_first.compared
    compared = against_base.evidence["accuracy"], beside
    base, first = (one.metrics["base_test"]["per_class"] for one in compared)
    assert base[3] > 0.9
    assert first[3] <= 0.05 < 0.9 < first[7]
    assert len({one.inputs_digest for one in compared}) == 2
    assert [event.data["against"] for event in two_forgotten.events("version.evaluated")] == ["base", "base", "1"]
    # It stands beside the comparison with the original, and does not replace it.
    assert against_first.evidence["accuracy"].metrics == against_base.evidence["accuracy"].metrics
    assert against_first.standing.standing["accuracy"].provenance.against == "base"
    assert against_first.standing.compared == (beside,)
    # The mask is that of the registered network, whatever the version is compared with.
    masks = [one.metrics for one in compared]
    for name in ("mask_train", "mask_test", "loss_against_mask"):
        assert masks[0][name] == masks[1][name]
    mask = masks[0]["mask_test"]
    assert mask["retained"] >= masks[0]["base_test"]["retained"] > 0.9
    assert (mask["per_class"][3], mask["per_class"][7], mask["forgotten"]) == (0.0, 0.0, 0.0)
    assert masks[0]["loss_against_mask"] == mask["retained"] - masks[0]["test"]["retained"]


def test_a_version_is_compared_with_a_file(two_forgotten: Desk, tmp_path: Path) -> None:
    # Standing in for a network retrained without 3 and 7: one that answers the other way round.
    state = tensor_files.parse(two_forgotten.digits.weights.read_bytes(), "the weights")
    retrained = tmp_path / "retrained.safetensors"
    retrained.write_bytes(tensor_files.serialise(state | {"8.weight": -state["8.weight"]}))
    measured = evaluate(two_forgotten.ledger, MODEL, 2, Silent(), only=["accuracy"], against=str(retrained))
    [beside] = measured.compared
    assert beside.metrics["base_test"]["retained"] < 0.1 < 0.9 < beside.metrics["mask_test"]["retained"]
    assert beside.provenance.compared == sha256_hex(retrained.read_bytes())
    assert [event.data["against"] for event in two_forgotten.events("version.evaluated")] == ["base", "file"]


def test_what_cannot_be_compared_with_is_refused(two_forgotten: Desk, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(tensor_files.serialise({}))
    for against, error in [
        ("7", NotFoundError),
        (str(tmp_path / "nothing"), NotFoundError),
        (str(tmp_path / "other.safetensors"), WeightsError),
    ]:
        with two_forgotten.unchanged(), pytest.raises(error):
            evaluate(two_forgotten.ledger, MODEL, None, Silent(), against=against)
    with two_forgotten.unchanged(), pytest.raises(UsageError, match="guesswork"):
        evaluate(two_forgotten.ledger, MODEL, None, Silent(), only=["accuracy", "guesswork"])


# -- preview ------------------------------------------------------------------------------------------


def test_a_preview_foretells_the_version_and_writes_nothing(desk: Desk) -> None:
    with desk.unchanged():
        foretold = preview(desk.ledger, MODEL, ("3", "name:7"), Silent())
    assert foretold.forgotten == {3, 7}
    assert foretold.missed_gates == ()
    version = desk.forget(3, 7)
    assert (version.recipe.alpha_r, version.recipe.alpha_f) == (foretold.alpha_r, foretold.alpha_f)
    assert foretold.accuracy["test"]["per_class"] == desk.test_accuracy()
    document = preview_document(foretold)
    check_document(document)
    retained = document["retained"]
    assert retained["masked_original"] == foretold.accuracy["mask_test"]["retained"]
    assert retained["loss_against_mask"] == foretold.accuracy["loss_against_mask"]
    assert retained["drop_against_plain"] == foretold.accuracy["retained_drop"]


def test_a_preview_counts_what_is_forgotten_already(two_forgotten: Desk) -> None:
    with two_forgotten.unchanged():
        foretold = preview(two_forgotten.ledger, MODEL, ("0",), Silent())
    assert foretold.forgotten == {0, 3, 7}
