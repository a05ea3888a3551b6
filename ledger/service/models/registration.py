"""Register a model: check that weights, architecture, labels and data fit, then record version 0."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ledger.domain.data_record import DEFAULT_DATA_OPTIONS, BadImages, DataOptions, DataRecord
from ledger.domain.label_orders import LabelOrder
from ledger.domain.labels import MOST_SHOWN, LabelMap
from ledger.domain.models import Architecture, Model, NewModel
from ledger.domain.recipe import VersionRecipe
from ledger.domain.settings import INTERPOLATIONS, CropMode, Preprocessing, Settings
from ledger.domain.versions import Version, VersionKind
from ledger.errors import (
    ConflictError,
    DataError,
    UnsupportedLayerError,
    UsageError,
)
from ledger.hookspecs import DataSource, FittingSplit, Split
from ledger.images.loading import load_images
from ledger.images.relabelled import RelabelledSource, require_images
from ledger.networks.coverage import ParameterCoverage, Treatment
from ledger.networks.device import choose_device
from ledger.networks.opening import open_network
from ledger.networks.trial import IMAGES, require_function_of_image
from ledger.service.computation.environment import computation_environment
from ledger.service.computation.pinning import pin_threads
from ledger.service.computation.registered_data import data_digest, open_source, records
from ledger.service.few_images import registration_notes
from ledger.service.ledger import Ledger
from ledger.service.objects import store_object
from ledger.service.output_files import require_free, write_output
from ledger.service.progress import Progress, Silent
from ledger.service.versions.commit import append_model, append_version
from ledger.weights import tensor_files

from .contact_sheet import contact_sheet
from .data_check import open_checked
from .measured_accuracy import measure_accuracy
from .normalisation import require_scale
from .published import completed

MOST_CLASSES = 65_536
"""Most classes of a model: a network is built with an output for each, before its weights are compared."""
MOST_LABEL_CHARACTERS = 1_000
MOST_INPUT_VALUES = 3 * 4096 * 4096
"""Most values of one input of a network."""
LEAST_CROP = 0.01
"""Smallest share of an image that the crop keeps."""


@dataclass(frozen=True)
class Registration:
    """What a person says about a model they register."""

    name: str
    architecture: Architecture
    weights: Path | None
    """A safetensors file; None takes that of the folder or repository that ``architecture`` names."""
    data_spec: str
    labels: tuple[str, ...] | None
    """Class labels in output order; None takes the data source's, in ``label_order``."""
    preprocessing: dict[str, Any]
    """Fields of :class:`Preprocessing` that differ from what the architecture expects."""
    settings: Settings
    allow_unhandled: frozenset[str] = frozenset()
    """Names of weights that may stay unedited although no handler covers them."""
    bad_images: BadImages = BadImages.REFUSE
    """What to do about images that cannot be read."""
    data_options: DataOptions = DEFAULT_DATA_OPTIONS
    """How the files of the data are read."""
    label_order: LabelOrder | None = None
    """The rule that puts the data's labels into output order; None takes them as the data source lists them."""
    accept_accuracy: bool = False
    """Whether the accuracy may be what it is, even that of chance."""
    accept_outputs: bool = False
    """Whether the network may return something other than logits."""
    contact_sheet: Path | None = None
    """A new PNG file that shows what the network sees; None for none."""


def register(ledger: Ledger, registration: Registration, progress: Progress | None = None) -> Model:
    """Register a model: check that weights, architecture, labels and data fit, then record version 0.

    Args:
        ledger: The ledger.
        registration: What a person says about the model.
        progress: Told about phases.

    Raises:
        ConflictError: The name is taken.
        UsageError: The preprocessing makes no sense, no plugin offers a solver, or there is no such device here.
        WeightsError: The weights do not fit the network, or are no safetensors file.
        NonFiniteError: Weights or outputs hold NaN or infinity.
        DataError: A class has no images, the label map disagrees with the data, or images cannot be read.
        UnsupportedLayerError: A weight that no layer handler edits was not allowed by name.
        ImpureNetworkError: The network's answer for an image depends on more than that image.
        AccuracyError: The network knows nothing, or its labels are in another order.
        OutputsError: It returns something other than logits.
    """
    _check_name(ledger, registration.name)
    if registration.contact_sheet is not None:
        require_free(ledger.config, registration.contact_sheet)
    registration = completed(ledger.plugins, registration, ledger.tell)
    weights = registration.weights
    if weights is None:
        raise UsageError("--weights is missing", "add --weights FILE")
    data = tensor_files.read_file(weights)
    state = tensor_files.parse(data, str(weights))
    pin_threads(ledger, None)
    source = open_source(ledger, registration.data_spec, registration.data_options)
    if registration.data_options.test_share and not getattr(source, "sets_aside", False):
        raise UsageError(f"{registration.data_spec} has test images of its own, or takes no --split", "leave it out")
    labels = _labels(registration, source)
    fitting = source.train
    source, record = _checked(ledger, registration, labels, progress or Silent())
    if tuple(source.labels) != labels.labels:
        source = RelabelledSource(source, labels.labels)
    ledger.plugins.solvers(registration.settings.solvers)
    network = open_network(
        ledger.plugins,
        registration.architecture,
        len(labels),
        state,
        lambda expected: load_images(source.train, [0], _preprocessing(registration, expected)),
        source=str(weights),
        device=choose_device(ledger.device),
    )
    preprocessing = _applied(ledger, registration, network.expected, fitting)
    _check_coverage(network.coverage, registration.allow_unhandled)
    if not network.layers:
        raise UnsupportedLayerError("the network has no layer that can be edited", "see unledger plugins")
    require_function_of_image(network, load_images(source.train, _spread(len(source.train.labels)), preprocessing))
    if registration.contact_sheet is not None:
        # Before the accuracy is judged: where it is bad, the sheet may show why.
        sheet = contact_sheet(network, source, labels, preprocessing, registration.settings.seed)
        write_output(ledger.config, registration.contact_sheet, sheet)
    accuracy = measure_accuracy(
        network,
        source,
        labels,
        preprocessing,
        seed=registration.settings.seed,
        batch_size=registration.settings.batch_size,
        progress=progress or Silent(),
        accept_accuracy=registration.accept_accuracy,
        accept_outputs=registration.accept_outputs,
    )
    for note in registration_notes(labels, source.train.labels, source.test.labels):
        ledger.tell(f"note: {note}")
    digest = store_object(ledger, data)
    now = ledger.clock()
    with ledger.database.write() as tx:
        model = append_model(
            tx,
            NewModel(
                name=registration.name,
                architecture=registration.architecture,
                labels=labels,
                preprocessing=preprocessing,
                data_spec=registration.data_spec,
                data_digest=data_digest(labels, record.classes) if record.classes else source.digest,
                data=record,
                settings=registration.settings,
                created_at=now,
            ),
            actor=ledger.actor,
            weights=digest,
            code=network.code_digest,
            unhandled_allowed=len(registration.allow_unhandled),
            accuracy=accuracy,
            plugins=ledger.plugins.origins(registration.architecture.spec, registration.data_spec),
        )
        base = Version(
            model_id=model.id,
            number=0,
            parent=None,
            kind=VersionKind.BASE,
            request_id=None,
            restores=None,
            forgotten=frozenset(),
            weights=digest,
            recipe=VersionRecipe.of_registration(
                computation_environment(network.device), network.code_digest, accuracy
            ),
            created_at=now,
        )
        append_version(tx, model, base, size=len(data), terms=(), actor=ledger.actor, at=now)
    return model


def _checked(
    ledger: Ledger, registration: Registration, labels: LabelMap, progress: Progress
) -> tuple[DataSource, DataRecord]:
    """Read every image once; return the source without those that cannot be read, and what there is of each class."""
    checked = open_checked(ledger, registration.data_spec, registration.data_options, progress, registration.bad_images)
    require_images(checked.source, labels.labels, "every class needs at least one image in each split")
    classes = () if checked.contents is None else records(labels, checked.contents.classes)
    return checked.source, DataRecord(classes, checked.options)


def _spread(count: int) -> list[int]:
    """Return indices of images for the trial, evenly spread over a split of ``count``, so over its classes."""
    return sorted({round(place * (count - 1) / (IMAGES - 1)) for place in range(IMAGES)})


def _check_name(ledger: Ledger, name: str) -> None:
    if not name or name.startswith("-") or not all(c.isalnum() or c in "-_." for c in name):
        raise UsageError(
            f"{name!r} cannot be a model's name", "use letters, digits, '_', '.' and, not as the first, '-'"
        )
    with ledger.database.read() as tx:
        if name in tx.models.names().values():
            raise ConflictError(f"there is already a model called {name!r}", "choose another name")


def _labels(registration: Registration, source: DataSource) -> LabelMap:
    """Return the labels in output order: the same names as the data's, in any order."""
    found = LabelMap(tuple(source.labels))
    named = registration.labels
    if named is None:
        named = found.labels if registration.label_order is None else registration.label_order.sort(found.labels)
    if len(named) > MOST_CLASSES or max(map(len, named), default=0) > MOST_LABEL_CHARACTERS:
        raise UsageError(
            f"at most {MOST_CLASSES:,} classes can be told apart, with labels of {MOST_LABEL_CHARACTERS:,} characters"
        )
    labels = LabelMap(named)
    if set(labels.labels) != set(found.labels):
        differences = (
            ("has", "have", "no images", sorted(set(labels.labels) - set(found.labels))),
            ("is", "are", "not among the labels", sorted(set(found.labels) - set(labels.labels))),
        )
        detail = "; ".join(
            f"{_some(names)} {one if len(names) == 1 else several} {what}"
            for one, several, what, names in differences
            if names
        )
        raise DataError(
            f"the labels are not the classes of the data: {len(labels)} labels, {len(found)} classes; {detail}",
            "labels must equal the data's class names, in the order of the model's outputs",
        )
    require_images(source, labels.labels, "every class needs at least one image in each split")
    return labels


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:MOST_SHOWN]) for name in names[:3]) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


def _preprocessing(registration: Registration, expected: Preprocessing | None) -> Preprocessing:
    """Return what the architecture expects, with the fields that the person set instead.

    Raises:
        UsageError: The result makes no sense.
    """
    preprocessing = replace(expected or Preprocessing(), **registration.preprocessing)
    if preprocessing.crop_mode is None:
        preprocessing = replace(preprocessing, crop_mode=CropMode.CENTER)
    if preprocessing.interpolation not in INTERPOLATIONS:
        raise UsageError(
            f"images cannot be resized by {preprocessing.interpolation!r}",
            f"interpolation: {', '.join(INTERPOLATIONS)}",
        )
    shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
    if min(shape) < 1:
        raise UsageError(f"an input size of {'x'.join(map(str, shape))} holds no pixel", "e.g. --input-size 3x32x32")
    if math.prod(shape) > MOST_INPUT_VALUES:
        raise UsageError(f"an input size of {'x'.join(map(str, shape))} is larger than any image that is read")
    if not LEAST_CROP <= preprocessing.crop_fraction <= 1 / LEAST_CROP:
        raise UsageError(f"crop_pct cannot be {preprocessing.crop_fraction}", "it is a share, e.g. 0.875")
    for name in ("mean", "std"):
        values = getattr(preprocessing, name)
        if len(values) not in (1, preprocessing.channels):
            raise UsageError(
                f"{name} has {len(values)} values for {preprocessing.channels} channels",
                f"set --{name} and --input-size",
            )
    if not all(math.isfinite(value) for value in preprocessing.mean + preprocessing.std) or min(preprocessing.std) <= 0:
        raise UsageError("mean and std must be finite, and std above zero", "e.g. --mean 0.5 --std 0.5")
    require_scale(preprocessing)
    return preprocessing


def _applied(ledger: Ledger, registration: Registration, expected: Preprocessing | None, split: Split) -> Preprocessing:
    """Return the preprocessing that images really get, and say what of it nobody named."""
    wanted = _preprocessing(registration, expected)
    applied = split.applied(wanted) if isinstance(split, FittingSplit) else wanted
    said = registration.preprocessing.keys()
    names = {"height": "input size", "mean": "mean", "std": "std"}
    if not isinstance(split, FittingSplit):
        names |= {"interpolation": "interpolation", "crop_fraction": "crop"}
    assumed = [f"{name} {_shown(applied, field)}" for field, name in names.items() if field not in said]
    if assumed:
        whose = "the architecture says no other" if expected is None else "of the architecture"
        ledger.tell(f"preprocessing: {', '.join(assumed)}, {whose}")
    if applied.crop_fraction != wanted.crop_fraction:
        ledger.tell(
            f"preprocessing: images of {registration.data_spec} are resized as a whole; the crop of "
            f"{wanted.crop_fraction:g} is not applied"
        )
    return applied


def _shown(preprocessing: Preprocessing, field: str) -> str:
    if field == "height":
        return f"{preprocessing.channels}x{preprocessing.height}x{preprocessing.width}"
    if field in ("interpolation", "crop_fraction"):
        return str(getattr(preprocessing, field))
    return ",".join(f"{value:g}" for value in getattr(preprocessing, field))


def _check_coverage(coverage: Sequence[ParameterCoverage], allowed: frozenset[str]) -> None:
    unhandled = [c for c in coverage if c.treatment is Treatment.UNHANDLED and c.name not in allowed]
    if unhandled:
        listed = "; ".join(f"{c.name} {list(c.shape)}: {c.detail}" for c in unhandled[:5])
        raise UnsupportedLayerError(
            f"{len(unhandled)} weights would never be edited: {listed}",
            "install a plugin for these layers, or accept each one with --allow-unhandled NAME",
        )
