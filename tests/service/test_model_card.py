"""The model card of an export: metadata that the hub reads, figures as measured, and nothing that names anybody."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.evidence import Evidence, Provenance, WeightsEvidence
from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version, VersionKind
from ledger.service.progress import Silent
from ledger.service.versions.export import export
from ledger.service.versions.model_card import CardFacts, model_card
from tests.ledgers.desk import MODEL, Desk
from tests.ledgers.stand_in import model_value

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)


def evidence(name: str, metrics: dict[str, Any], retrained: str | None = None) -> Evidence:
    provenance = Provenance(weights="a" * 64, against="base", retrained=retrained)
    return Evidence(name, f"eval_{name}", "1", metrics, {}, "e" * 64, AT, provenance)


def facts(name: str = "birds", *measured: Evidence, spec: str = "timm/resnet18", **changes: Any) -> CardFacts:
    labels = LabelMap(("secret owl", "jay", "tit"))
    model = Model(**vars(model_value(name, architecture=Architecture(spec, {}), labels=labels)), id=1)
    recipe = VersionRecipe({})
    version = Version(1, 2, 1, VersionKind.FORGET, 1, None, frozenset({0}), "a" * 64, recipe, AT)
    plain = CardFacts(model, version, WeightsEvidence(measured), 0, 0, "9:" + "b" * 64, "0.1.0", AT)
    return replace(plain, **changes)


def read(text: str) -> ModelCardData:
    """Return the metadata as the hub's own library reads it."""
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return data


def split(retained: float, forgotten: float) -> dict[str, Any]:
    return {
        "retained": retained,
        "forgotten": forgotten,
        "retained_images": 400,
        "forgotten_images": 40,
        "retained_interval": {"low": retained - 0.02, "high": retained + 0.01},
        "forgotten_interval": {"low": 0.0, "high": 0.0881},
    }


def test_the_hub_reads_metadata_and_figures() -> None:
    metrics = {"test": split(0.9, 0.0), "base_test": split(0.93, 0.95), "mask_test": split(0.95, 0.0)}
    text = model_card(facts("birds", evidence("accuracy", metrics)))
    card = read(text)
    assert card.library_name == "timm"
    assert card.pipeline_tag == "image-classification"
    assert {"machine-unlearning", "unledger"} <= set(card.tags or ())
    values = {one.metric_name: one.metric_value for one in card.eval_results or ()}
    assert values == {
        "retained classes, test images, mean over classes": 0.9,
        "forgotten classes, test images, mean over classes": 0.0,
    }
    assert "| forgotten classes, test images, mean over classes | this version | 0.0% | 0.0% – 8.8% | 40 |" in text
    assert (
        "| retained classes, test images, mean over classes | masked original | 95.0% | 93.0% – 96.0% | 400 |" in text
    )


def test_nobody_is_named_and_what_was_not_tested_is() -> None:
    text = model_card(facts())
    assert "edit" in text
    assert "forget 1 of 3 classes" in text
    assert "secret" not in text
    assert "L0 applied" in text
    assert "- L2 membership" in text
    assert "- L4 against retrained" in text
    assert "model-index" not in text


def test_weights_that_forgot_nothing_are_not_called_unlearned() -> None:
    edited = facts()
    claim = "approximate* unlearning"
    assert claim in model_card(edited)
    text = model_card(replace(edited, version=replace(edited.version, forgotten=frozenset())))
    assert claim not in text
    assert "Nothing: these are weights that have forgotten no class." in text


def test_waived_gates_and_classes_that_were_not_known_are_told() -> None:
    text = model_card(facts(gates_missed=2, not_known_before=1))
    assert "although it missed 2 quality gates" in text
    assert "there was nothing to forget: 1 of these" in text
    plain = model_card(facts())
    assert "missed" not in plain
    assert "nothing to forget" not in plain


def test_a_retrained_network_has_rows_only_where_it_was_measured() -> None:
    metrics = {"test": split(0.9, 0.0), "retrained_test": split(0.91, 0.0)}
    assert "| retrained |" not in model_card(facts("birds", evidence("accuracy", {"test": split(0.9, 0.0)})))
    assert "| retrained | 91.0%" in model_card(facts("birds", evidence("accuracy", metrics, "c" * 64)))


@given(st.text(max_size=60), st.text(min_size=1, max_size=30))
def test_any_name_leaves_the_card_whole(name: str, spec: str) -> None:
    text = model_card(facts(name, evidence("accuracy", {"test": split(0.5, 0.25)}), spec=spec))
    assert read(text).pipeline_tag == "image-classification"
    assert [one.metric_value for one in read(text).eval_results or ()] == [0.5, 0.25]
    assert "\n## Limits\n" in text


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "[x](javascript:alert(1))", "a\n---\nlicense: mit", "`x`"]
)
def test_hostile_names_stay_text(name: str) -> None:
    text = model_card(facts(name))
    body = text.split("\n---\n", 1)[1]
    assert "<script" not in body
    assert "](" not in body.replace("\\]\\(", "")
    assert read(text).license == "unknown"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["test", "retained"]), inner),
        max_leaves=8,
    )
)
def test_odd_metrics_leave_the_card_whole(value: Any) -> None:
    ModelCard(
        model_card(facts("birds", evidence("accuracy", {"test": value}), evidence("probe", {"regularised": value})))
    )


def test_an_export_has_a_card_that_hides_names_if_asked(two_forgotten: Desk, tmp_path: Path) -> None:
    from ledger.service.evidence.evaluation import evaluate

    evaluate(two_forgotten.ledger, MODEL, 2, Silent(), only=["accuracy", "confusion"], train_per_class=1)
    for folder, hidden in (("open", False), ("hidden", True)):
        export(two_forgotten.ledger, MODEL, 2, tmp_path / folder, hide_forgotten=hidden)
        text = (tmp_path / folder / "README.md").read_text()
        config = json.loads((tmp_path / folder / "config.json").read_text())
        names = [str(digit) for digit in range(10)]
        if hidden:
            names[3], names[7] = "forgotten 3", "forgotten 7"
        assert config["label_names"] == names
        assert config["unledger"]["audit_head"] in text
        assert config["unledger"]["weights_sha256"] in text
        assert "forget 2 of 10 classes" in text
        assert "Level L1 outputs" in text
        assert ("leaves out the names" in text) is hidden
        assert str(two_forgotten.root) not in text
        (value,) = re.findall(r"retained classes, test images, mean over classes \| this version \| ([\d.]+)%", text)
        assert 50 < float(value) <= 100
        assert len(read(text).eval_results or ()) == 2
