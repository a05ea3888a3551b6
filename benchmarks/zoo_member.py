"""Take one architecture with random weights the whole way through the ledger: from registration to an edited answer."""

import tempfile
import time
import traceback
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from zoo_choice import CLASSES, Family, Member, affordable, inputs, never_for_want_of_memory, smallest

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.settings import Settings
from ledger.errors import DataError, LedgerError, PluginError
from ledger.images.loading import load_images
from ledger.networks.coverage import ParameterCoverage, Treatment
from ledger.networks.opening import build_network
from ledger.plugin_manager import Plugins, build_plugins
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.unlearning import search
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Silent
from ledger.weights import tensor_files

SEED, FORGOTTEN, MODEL = 0, 1, "member"
EACH = 8
"""Images of a class."""
NOISE = 0.02
"""Added to every parameter: many architectures start with branches multiplied by zero, which would prove nothing."""
SETTINGS = Settings(
    retain_samples=4,
    forget_samples=4,
    calibration_samples=4,
    rows_per_class=64,
    max_rank=16,
    alpha_r=(100.0,),
    alpha_f=(30.0,),
    retained_bar=1.0,
    max_retained_drop=1.0,
    batch_size=8,
)
MOST_MEMBERS = 3
"""Of a family, looked at: some are encoders only, some take large images only."""
LARGE = 128
"""Pixels a side above which another member is preferred."""


class Verdict(StrEnum):
    """What became of an architecture."""

    SUPPORTED = "supported"
    """Every weight is edited or left alone by design, and the edited network answers."""
    PARTLY = "partly"
    """The same, but some weights no handler covers: a person must accept each by name."""
    NOT = "not"
    """The ledger refuses it, with an error of its own."""
    CRASHED = "crashed"
    """Anything else went wrong."""


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    library: str
    family: str
    architecture: str
    parameters: int
    edited: float
    """Share of all parameters, by number."""
    size: int
    """Pixels a side."""
    seconds: float
    verdict: Verdict
    reason: str
    unhandled: tuple[str, ...] = ()
    """Each weight that no handler covers, with its shape and why."""


def walk(family: Family) -> Finding:
    """Find a family's smallest classifier and take it through the ledger."""
    plugins = build_plugins()
    members = smallest(family, plugins)[:MOST_MEMBERS]
    found = [first for m in members if (first := _first(affordable(m, plugins), plugins)) is not None]
    if found:
        # Among members of one family one that takes small images is the cheaper one.
        return take(family, *min(found, key=lambda one: one[1] > LARGE))
    named = Member(members[0].spec if members else family.name)
    return _finding(family, named, 0, 0.0, 0.0, Verdict.NOT, "no member found that answers one logit for each class")


def take(family: Family, member: Member, size: int) -> Finding:
    """Register, cover, collect, project, and answer with the edited weights."""
    began = time.perf_counter()
    share, unhandled = 0.0, tuple[str, ...]()
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench, covered = open_member(Path(folder), member, size)
            share = edited_share(covered)
            unhandled = tuple(
                f"{c.name} {list(c.shape)}: {c.detail}" for c in covered if c.treatment is Treatment.UNHANDLED
            )
            edit(bench)
            bench.ledger.close()
    except LedgerError as error:
        # What a handler did not expect is no refusal, although it has been given a name.
        verdict = Verdict.CRASHED if isinstance(error, PluginError) else Verdict.NOT
        reason = f"{type(error).__name__}: {error.message}"
    except Exception as error:  # noqa: BLE001 - whatever it is, that it is not one of ours is the finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        verdict, reason = Verdict.CRASHED, f"{type(error).__name__} in {where.name}: {error}"
    else:
        verdict = Verdict.PARTLY if unhandled else Verdict.SUPPORTED
        reason = ""
    return replace(
        _finding(family, member, size, share, time.perf_counter() - began, verdict, reason), unhandled=unhandled
    )


def open_member(folder: Path, member: Member, size: int) -> tuple[Workbench, list[ParameterCoverage]]:
    """Register a member with noise for weights and images; weights that nobody handles are accepted by name."""
    ledger = create_ledger(create_config(folder / "ledger", "sqlite:///ledger.db", "objects"), "zoo")
    architecture = Architecture(member.spec, dict(member.options))
    torch.manual_seed(SEED)
    network = build_network(ledger.plugins, architecture, CLASSES)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.add_(NOISE * torch.randn_like(parameter))
    weights = folder / "weights.safetensors"
    weights.write_bytes(tensor_files.serialise(network.state()))
    preprocessing = {"channels": 3, "height": size, "width": size, "mean": (0.5,), "std": (0.25,)}
    images = _noise(folder / "images.npz", size)
    covered = list(network.observed(torch.randn(1, 3, size, size)).coverage)
    register(
        ledger,
        Registration(
            name=MODEL,
            architecture=architecture,
            weights=weights,
            data_spec=f"npz:{images}",
            labels=None,
            preprocessing=preprocessing,
            settings=SETTINGS,
            accept_accuracy=True,
            allow_unhandled=frozenset(c.name for c in covered if c.treatment is Treatment.UNHANDLED),
        ),
    )
    return open_workbench(ledger, MODEL), covered


def edit(bench: Workbench) -> None:
    """Collect class spaces and edit once with each solver: all layers, then half of them, entered in the middle.

    Raises:
        DataError: The edited network does not answer, answers NaN, or answers as before.
    """
    forgotten = frozenset({FORGOTTEN})
    collected = list(ClassSpaceCache(bench).collect_and_store(forgotten, Silent()))
    layers = len(bench.network.layers)
    images = bench.network.prepare_images(load_images(bench.source.test, range(CLASSES), bench.model.preprocessing))
    before = _logits(bench, bench.anchor_state, images)
    for solver, depth in (("projection", layers), ("least-squares", -(-layers // 2))):
        held = copy(bench)
        held.model = replace(bench.model, settings=replace(SETTINGS, solvers=(solver,), depths=(depth,)))
        found = search(held, collected, forgotten, Silent())
        after = _logits(bench, found.candidate.state, images)
        if not bool(torch.isfinite(after).all()):
            raise DataError(f"{solver} on {depth} layers makes it answer NaN or infinity")
        if torch.equal(after, before):
            raise DataError(f"{solver} on {depth} layers changes no answer")


def edited_share(covered: list[ParameterCoverage]) -> float:
    """Return the share of numbers that lie in edited parameters."""
    sizes = {c.name: int(np.prod(c.shape)) for c in covered}
    edited = sum(sizes[c.name] for c in covered if c.treatment is Treatment.EDITED)
    return edited / max(1, sum(sizes.values()))


def _first(member: Member, plugins: Plugins) -> tuple[Member, int] | None:
    """Return a member with the smallest size of image that it takes, None if it is no classifier."""
    return next((one for one in inputs(member, plugins) if _answers(plugins, *one)), None)


def _answers(plugins: Plugins, member: Member, size: int) -> bool:
    """Whether a member takes images of a size not on paper only."""
    try:
        module = plugins.load_model(member.spec, member.options, CLASSES).module.eval()
        with torch.inference_mode():
            answer = module(torch.zeros(2, 3, size, size))
    except Exception as error:  # noqa: BLE001
        never_for_want_of_memory(error)
        return False
    return isinstance(answer, Tensor) and answer.shape == (2, CLASSES)


def _logits(bench: Workbench, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = functional_call(
            bench.network.module, bench.network.prepare_weights(state), (images,), tie_weights=False
        )
    return answer


def _noise(target: Path, size: int) -> Path:
    rng = np.random.default_rng(SEED)
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        labels = np.arange(EACH * CLASSES) % CLASSES
        arrays[f"x_{split}"] = rng.integers(0, 256, (len(labels), size, size, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = labels
    np.savez(target, **arrays)  # type: ignore[arg-type]
    return target


def _finding(
    family: Family, member: Member, size: int, share: float, seconds: float, verdict: Verdict, reason: str
) -> Finding:
    return Finding(
        library=family.library,
        family=family.name,
        architecture=member.shown,
        parameters=member.parameters,
        edited=share,
        size=size,
        seconds=seconds,
        verdict=verdict,
        reason=" ".join(reason.split()),
    )
