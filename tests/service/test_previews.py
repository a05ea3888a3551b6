"""Requests that are bound to a preview: what was made is held against what was shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.digest import json_digest
from ledger.documents.requests import preview_document
from ledger.domain.previews import PreviewOutcome, PreviewRecord
from ledger.errors import ConflictError, UsageError
from ledger.service.computation.compute import open_unlearning
from ledger.service.evidence.gating import open_gated
from ledger.service.objects import store_object
from ledger.service.progress import Progress, Silent
from ledger.service.requests.foretelling import digest_of, read_preview
from ledger.service.requests.preview import Preview, preview
from ledger.weights import tensor_files
from tests.fixtures.documents import check_document
from tests.ledgers.desk import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ledger.service.computation.compute import Compute
    from ledger.service.ledger import Ledger
    from ledger.service.versions.proposal import Proposal
    from tests.ledgers.desk import Desk


def foretold(desk: Desk, *classes: str) -> Preview:
    with desk.unchanged():
        return preview(desk.ledger, MODEL, classes, Silent())


def changing(change: Callable[[dict[str, Tensor]], None]) -> Any:
    """Return what lays a model out for computation, and changes the weights that come out."""

    def open_model(ledger: Ledger, name: str) -> Compute:
        compute = open_unlearning(ledger, name)

        def changed(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
            # What was measured is of the weights before the change.
            proposal = replace(compute(forgotten, progress, solvers), measured=(), evidence=None)
            state = tensor_files.parse(ledger.objects.get(proposal.weights), "weights")
            change(state)
            data = tensor_files.serialise(state)
            return replace(proposal, weights=store_object(ledger, data), size=len(data))

        return changed

    return open_model


def test_it_counts_every_image_and_ranks_the_retained_classes_by_their_loss(desk: Desk) -> None:
    found = foretold(desk, "3")
    assert found.classes[0].class_index == 3
    retained = found.classes[1:]
    losses = [one.lost.difference for one in retained]
    assert losses == sorted(losses, key=lambda lost: -(lost or 0))
    test, mask, before = (found.accuracy[name]["per_class"] for name in ("test", "mask_test", "base_test"))
    for one in found.classes:
        k = one.class_index
        shares = one.original / one.images, one.masked / one.images, one.foretold / one.images
        assert shares == pytest.approx((before[k], mask[k], test[k]))
        assert max(0, one.masked + one.foretold - one.images) <= one.both <= min(one.masked, one.foretold)
    assert found.record.retained.images == sum(one.images for one in retained)
    document = preview_document(found)
    check_document(document)
    assert read_preview(json.dumps(document), "it") == found.record
    assert document["digest"] == digest_of(found.record)


def test_a_preview_that_comes_true_is_exact(desk: Desk) -> None:
    shown = foretold(desk, "3").record
    request = desk.file(3, preview=shown)
    [done] = desk.work()
    assert done.foretold is not None
    assert (done.foretold.outcome, done.foretold.told) == (PreviewOutcome.EXACT, "")
    assert done.version is not None
    assert done.version.weights == shown.weights
    [received], [fulfilled] = (desk.events(f"request.{kind}") for kind in ("received", "fulfilled"))
    assert received.data["preview"] == digest_of(shown)
    assert received.data["foretold"] == shown.to_json()
    assert fulfilled.data["preview"] == "exact"
    assert desk.request(request.id).outcome == ""


def test_another_version_meanwhile_contradicts_it(desk: Desk) -> None:
    desk.file(7)
    desk.file(3, preview=foretold(desk, "3").record)
    first, second = desk.work()
    assert first.foretold is None
    assert second.foretold is not None
    assert second.foretold.outcome is PreviewOutcome.CONTRADICTED
    assert "it showed the model without 3, and the result is without 3, 7" in second.foretold.told
    assert second.foretold.told in desk.request(2).outcome
    assert [event.data.get("preview") for event in desk.events("request.fulfilled")] == [None, "contradicted"]


def test_other_weights_that_answer_alike_are_within_what_was_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def round_differently(state: dict[str, Tensor]) -> None:
        for tensor in state.values():
            tensor.mul_(1 + 1e-6)

    monkeypatch.setattr(type(desk), "open_model", staticmethod(changing(round_differently)))
    desk.file(3, preview=foretold(desk, "3").record)
    [done] = desk.work()
    assert done.foretold is not None
    assert done.foretold.outcome is PreviewOutcome.WITHIN
    assert "other weights" in desk.request(1).outcome


def test_figures_beyond_what_was_shown_contradict_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    original = tensor_files.parse(desk.ledger.objects.get(desk.live().weights), "weights")

    def learn_again(state: dict[str, Tensor]) -> None:
        for name, tensor in original.items():
            state[name] = torch.clone(tensor) * 1.5 if name.endswith("bias") else torch.clone(tensor)

    monkeypatch.setattr(type(desk), "open_model", staticmethod(changing(learn_again)))
    desk.file(3, preview=foretold(desk, "3").record)
    [done] = desk.work()
    assert done.foretold is not None
    assert done.foretold.outcome is PreviewOutcome.CONTRADICTED
    assert "images of 3 are recognised, where 0 were shown" in done.foretold.told


def test_a_preview_of_something_else_is_refused(desk: Desk) -> None:
    shown = foretold(desk, "3").record
    with desk.unchanged(), pytest.raises(UsageError, match="other classes"):
        desk.file(4, preview=shown)
    with desk.unchanged(), pytest.raises(UsageError, match="of the model cats"):
        desk.file(3, preview=replace(shown, model="cats"))
    with desk.unchanged(), pytest.raises(ConflictError, match="images of digits changed"):
        desk.file(3, preview=replace(shown, data="0" * 64))
    desk.forget(7)
    with desk.unchanged(), pytest.raises(ConflictError, match="other classes than version 1 has"):
        desk.file(3, preview=shown)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[-1].__setitem__(0, 10),
        lambda rows: rows[-1].__setitem__(1, 3),
        lambda rows: rows[-1].__setitem__(5, 10**6),
        lambda rows: rows[-1].__setitem__(2, -1),
        lambda rows: rows[-1].__setitem__(0, rows[-2][0]),
        lambda rows: rows.pop(0),
    ],
    ids=["no such class", "more than there are", "both", "fewer than none", "a class twice", "not the forgotten one"],
)
def test_counts_that_no_images_can_have_are_refused(desk: Desk, change: Callable[[list[list[int]]], None]) -> None:
    document = preview_document(foretold(desk, "3"))
    assert read_preview(json.dumps(document), "it").describes(10)
    change(document["record"]["classes"])
    document["digest"] = json_digest(document["record"])
    with desk.unchanged(), pytest.raises(UsageError, match="was altered: digits has no such classes"):
        desk.file(3, preview=read_preview(json.dumps(document), "it"))


def test_other_figures_beside_the_right_weights_contradict_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(desk), "open_model", staticmethod(open_gated))
    shown = foretold(desk, "3").record
    forgotten = shown.classes[0]
    flattering = forgotten._replace(foretold=forgotten.images, both=forgotten.masked)
    desk.file(3, preview=replace(shown, classes=(flattering, *shown.classes[1:])))
    [done] = desk.work()
    assert done.version is not None
    assert done.version.weights == shown.weights
    assert done.foretold is not None
    assert done.foretold.outcome is PreviewOutcome.CONTRADICTED
    assert "its figures are not those of the weights that it names: 0 of " in done.foretold.told


def test_fewer_images_measured_by_a_gate_are_not_held_against_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_model(ledger: Ledger, name: str) -> Compute:
        compute = open_gated(ledger, name)

        def changed(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
            proposal = compute(forgotten, progress, solvers)
            state = tensor_files.parse(ledger.objects.get(proposal.weights), "weights")
            data = tensor_files.serialise({key: tensor * (1 + 1e-6) for key, tensor in state.items()})
            return replace(proposal, weights=store_object(ledger, data), size=len(data))

        return changed

    monkeypatch.setattr(type(desk), "open_model", staticmethod(open_model))
    file = desk.root / "unledger.toml"
    file.write_text(file.read_text() + "\n[gates]\ntest_per_class = 5\n")
    desk.ledger = desk.open_again()
    desk.file(3, preview=foretold(desk, "3").record)
    [done] = desk.work()
    assert done.foretold is not None
    assert (done.foretold.outcome, "within the intervals" in done.foretold.told) == (PreviewOutcome.WITHIN, True)


def altered(document: dict[str, Any]) -> dict[str, Any]:
    row = document["record"]["classes"][0]
    return {**document, "record": {**document["record"], "classes": [[*row[:4], row[4] + 1, row[5]]]}}


@pytest.mark.parametrize("change", [altered, lambda d: {**d, "digest": "0" * 64}, lambda _: {}, lambda _: [1]])
def test_a_file_that_was_altered_is_refused(change: Callable[[Any], Any]) -> None:
    record = PreviewRecord("m", (1,), "d", "a", "w", "redirect", 1, ((1, 9, 9, 0, 0, 0),), (-1, 9, 9, 9, 9, 9))  # type: ignore[arg-type]
    document = {"digest": digest_of(record), "record": record.to_json()}
    assert digest_of(read_preview(json.dumps(document), "it")) == document["digest"]
    with pytest.raises(UsageError, match=r"is no preview|was altered"):
        read_preview(json.dumps(change(document)), "it")
