"""The model card of an exported version: what it is, what was measured, and what nobody should conclude from it.

A README.md as the Hugging Face hub reads it (Mitchell et al., Model cards for model reporting, 2019): metadata in YAML
between two lines of dashes, then Markdown. It leaves the ledger with the weights, so it holds nothing that the
recipient has no business with: forgotten classes are counted and not named, since a class may be a person; neither
reasons nor people nor paths of this machine are in it.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from ledger.domain.evidence import Evidence, WeightsEvidence
from ledger.domain.intervals import Interval
from ledger.domain.levels import EvidenceLevel
from ledger.domain.models import Model
from ledger.domain.numbers import finite_number
from ledger.domain.versions import Version

TIMM = "timm/"
TORCHVISION = "torchvision/"
_MARKDOWN = frozenset("\\`*_{}[]()#+-.!|~>")


@dataclass(frozen=True)
class CardFacts:
    """What the card is written from."""

    model: Model
    version: Version
    evidence: WeightsEvidence
    not_known_before: int
    """Number of forgotten classes that were not known before."""
    gates_missed: int
    """Number of missed gates that a person waived."""
    audit_head: str
    release: str
    """Version of unledger."""
    at: datetime
    hidden: bool = False
    """Whether ``config.json`` leaves out the labels of forgotten classes."""


def model_card(facts: CardFacts) -> str:
    """Return the text of README.md."""
    return "\n".join((*_front_matter(facts), "", *_body(facts), ""))


def _front_matter(facts: CardFacts) -> Iterator[str]:
    timm = facts.model.architecture.spec.startswith(TIMM)
    yield "---"
    yield f"library_name: {'timm' if timm else 'pytorch'}"
    yield "pipeline_tag: image-classification"
    yield "license: unknown"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("image-classification", "machine-unlearning", "unledger"))
    results = [(name, figure.share) for name, network, figure in _figures(facts) if network == "this version"]
    if results:
        yield "model-index:"
        yield f"- name: {_quoted(facts.model.name)}"
        yield "  results:"
        yield "  - task: {type: image-classification}"
        yield "    dataset: {name: registered images, type: registered-images}"
        yield "    metrics:"
        for name, share in results:
            yield f"    - {{type: accuracy, name: {_quoted(name)}, value: {share!r}}}"
    yield "---"


def _body(facts: CardFacts) -> Iterator[str]:
    model, version = facts.model, facts.version
    forgotten, classes = len(version.forgotten), len(model.labels)
    yield f"# {_inline(model.name)}, version {version.number}"
    yield ""
    yield f"An image classifier with {classes:,} outputs, exported from an unlearning ledger on {facts.at:%Y-%m-%d}."
    if forgotten:
        yield "This is *approximate* unlearning with recorded evidence."
    yield "Nothing here shows that data was erased, or that a law was complied with."
    yield ""
    yield "## What was forgotten"
    yield ""
    if forgotten:
        yield f"It was edited to forget {forgotten:,} of {classes:,} classes, without training."
        yield "They are not named here: a class may be a person."
        if facts.not_known_before:
            count = facts.not_known_before
            yield f"Not known before, so that there was nothing to forget: {count:,} of these."
        names = "leaves out the names of these" if facts.hidden else "keeps the names of all of them"
        yield f"Outputs keep their places, and `config.json` {names}."
    else:
        yield "Nothing: these are weights that have forgotten no class."
    yield ""
    yield "## Evidence"
    yield ""
    yield from _evidence(facts)
    yield ""
    yield "## Limits"
    yield ""
    yield "- A class that is not answered may still be in the weights: masking one output gives the same accuracy of 0."
    yield "- Who fine-tunes the model on images of a forgotten class teaches it again, perhaps faster than anew."
    yield "- Copies of the model and earlier versions, wherever they are, still know what this one forgot."
    yield "- Measured on the images that the model was registered with; other images were not tried."
    yield "- License and intended use are those of the registered weights, which the ledger does not know."
    yield ""
    yield "## How to load it"
    yield ""
    yield from _loading(model)
    yield ""
    yield "## Where it comes from"
    yield ""
    yield f"- Weights, SHA-256: `{version.weights}`"
    yield f"- Images, digest: `{_code(model.data_digest)}`"
    yield f"- Head of the audit log after this export: `{facts.audit_head}`"
    yield f"- Written by unledger {facts.release}"


def _evidence(facts: CardFacts) -> Iterator[str]:
    level = facts.evidence.level
    yield f"Level {level.title}: {level.looks_at}."
    if facts.gates_missed:
        yield f"**A person accepted it although it missed {_gates(facts.gates_missed)}.**"
    figures = list(_figures(facts))
    if figures:
        yield ""
        yield "| figure | network | value | 95 % interval | images |"
        yield "|---|---|---|---|---|"
        for name, network, figure in figures:
            interval = f"{figure.interval.low:.1%} – {figure.interval.high:.1%}" if figure.interval else "–"
            images = "not recorded" if figure.images is None else f"{figure.images:,}"
            yield f"| {name} | {network} | {figure.share:.1%} | {interval} | {images} |"
        yield ""
        yield "*Masked original*: the registered weights, which may not answer the forgotten classes: the trivial way."
        if any(network == "retrained" for _, network, _ in figures):
            yield "*Retrained*: weights that somebody declared to be trained without the forgotten classes."
    higher = [one for one in EvidenceLevel if one > level]
    if higher and facts.version.forgotten:
        yield ""
        yield "Not tested:"
        yield ""
        yield from (f"- {one.title} ({one.looks_at}): {', '.join(facts.evidence.missing(one))}" for one in higher)


@dataclass(frozen=True)
class _Figure:
    share: float
    interval: Interval | None
    images: int | None


def _figures(facts: CardFacts) -> Iterator[tuple[str, str, _Figure]]:
    """Yield name, network and value of the figures in the table."""
    shown = facts.evidence.shown
    accuracy = _metrics(shown.get("accuracy"))
    splits = {"original": "base_test", "masked original": "mask_test", "this version": "test"}
    groups = ("retained", "forgotten") if facts.version.forgotten else ("retained",)
    for group in groups:
        for network, split in {**splits, "retrained": "retrained_test"}.items():
            part = _part(accuracy.get(split))
            share = finite_number(part.get(group))
            if share is not None:
                ends = _part(part.get(f"{group}_interval"))
                low, high = finite_number(ends.get("low")), finite_number(ends.get("high"))
                interval = None if low is None or high is None else Interval(low, high)
                images = finite_number(part.get(f"{group}_images"))
                figure = _Figure(share, interval, None if images is None else int(images))
                yield f"{group} classes, test images, mean over classes", network, figure
    probe = _part(_part(_metrics(shown.get("probe")).get("regularised")).get("penultimate"))
    for role, network in (("original", "original"), ("version", "this version"), ("retrained", "retrained")):
        share = finite_number(_part(probe.get(role)).get("forgotten"))
        if share is not None:
            yield "forgotten classes, linear probe on the features", network, _Figure(share, None, None)


def _loading(model: Model) -> Iterator[str]:
    if model.architecture.spec.startswith(TIMM):
        yield "```python"
        yield "import timm"
        yield ""
        yield 'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # FOLDER: this one'
        yield "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
        yield "```"
    elif model.architecture.spec.startswith(TORCHVISION):
        name, given = model.architecture.spec.removeprefix(TORCHVISION), dict(model.architecture.options)
        options = "".join(f", {_code(key)}={_code(repr(value))}" for key, value in given.items())
        yield "```python"
        yield "import torchvision"
        yield "from safetensors.torch import load_file"
        yield ""
        yield f"model = torchvision.models.get_model({_code(name)!r}, num_classes={len(model.labels)}{options}).eval()"
        yield 'model.load_state_dict(load_file("model.safetensors"))'
        yield "```"
    else:
        yield f"The network is built by `{_code(model.architecture.spec)}`, which is not part of this folder:"
        yield ""
        yield "```python"
        yield "from safetensors.torch import load_file"
        yield ""
        yield 'model.load_state_dict(load_file("model.safetensors"))'
        yield "```"
    yield ""
    yield "`config.json` says how images are prepared."


def _metrics(evidence: Evidence | None) -> Mapping[str, Any]:
    return {} if evidence is None else _part(evidence.metrics)


def _part(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _gates(missed: int) -> str:
    return f"{missed} quality {'gate' if missed == 1 else 'gates'}"


def _clean(text: str) -> str:
    """Return text on one line, without control characters and signs that turn the direction of what follows."""
    return "".join("\ufffd" if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c for c in text)


def _quoted(text: str) -> str:
    # A string of JSON is one of YAML; signs beyond ASCII must stay as they are.
    return json.dumps(_clean(text), ensure_ascii=False)


def _inline(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML."""
    return "".join(f"\\{c}" if c in _MARKDOWN else escape(c) for c in _clean(text)) or "model"


def _code(text: str) -> str:
    return _clean(text).replace("`", "'")
