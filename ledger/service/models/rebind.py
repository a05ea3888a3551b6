"""Bind a model to its images and its code again: they moved, or a person decides to go on with what changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger.domain.data_record import BadImages, ClassRecord, DataRecord
from ledger.domain.events.models import ModelDataChanged
from ledger.domain.models import Architecture, Model
from ledger.domain.registered_accuracy import RegisteredAccuracy
from ledger.domain.versions import Version
from ledger.errors import ConflictError, DataError
from ledger.hookspecs import DataSource
from ledger.images.relabelled import require_images
from ledger.service.computation.registered_data import (
    ClassChange,
    changes,
    data_digest,
    describe,
    normal,
    records,
)
from ledger.service.computation.workbench import Workbench, registered_code
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress, Silent

from .data_check import CheckedData, open_checked
from .measured_accuracy import measure_accuracy


@dataclass(frozen=True)
class Rebinding:
    """What a rebinding changed."""

    model: Model
    """As it is now."""
    moved: bool
    """Whether images or code are read from another place, or told apart in a new way."""
    changed: tuple[ClassChange, ...]
    """Classes whose images are others now: their class spaces are collected anew when they are needed."""
    gone: tuple[int, ...]
    """Classes whose images are no longer there: their class spaces are kept."""
    new_code: bool
    """Whether other code than before is accepted."""
    accuracy: RegisteredAccuracy | None = None
    """What the weights that computations start from recognise now, if images or code are others; otherwise None."""

    @property
    def nothing(self) -> bool:
        """Whether everything was as the ledger knew it."""
        return not (self.moved or self.changed or self.gone or self.new_code)


def rebind(
    ledger: Ledger,
    model_name: str,
    data_spec: str | None = None,
    *,
    architecture: str | None = None,
    accept: str | None = None,
    bad_images: BadImages = BadImages.REFUSE,
    progress: Progress | None = None,
) -> Rebinding:
    """Take note of where images and code are now, and of what changed in them.

    Equal content in another place is taken note of as it is. A change is a decision that somebody has to give a reason
    for. Class spaces of classes whose training images are the same are kept; so are those of forgotten classes whose
    images are gone.

    Args:
        ledger: The ledger.
        model_name: The model.
        data_spec: Where the images are now; None for where they were.
        architecture: What builds the network now; None for what did.
        accept: Why changed images or code are accepted; None accepts none.
        bad_images: What to do about images that cannot be read.
        progress: Told about phases.

    Raises:
        ConflictError: Images or code changed, and no reason is given to accept that.
        DataError: A class has no images, or is not one of the model's; or images cannot be read.
    """
    with ledger.database.read() as tx:
        model = tx.models.get(model_name)
        tx.trusted.covered(model.name)
        anchor, live = tx.versions.get(model, model.anchor), tx.versions.live(model)
    spec = data_spec or model.data_spec
    checked = open_checked(ledger, spec, model.data.options, progress or Silent(), bad_images)
    found = _compare(model, checked, anchor)
    gone = _gone(model, checked, found, anchor.forgotten, live.forgotten)
    _require_classes(model, checked.source, anchor.forgotten | live.forgotten | gone)
    builder = Architecture(architecture or model.architecture.spec, model.architecture.options)
    bound = replace(model, data_spec=spec, architecture=builder, data=_record(model, checked, found, gone, anchor))
    bound = replace(bound, data_digest=_digest(bound, checked.source))
    bound, new_code = _with_code(ledger, model, bound, anchor)
    if accept is None:
        _require_unchanged(model, found, gone, new_code=new_code)
    changed = tuple(change for change in found.classes if change.class_index not in gone)
    others = found.whole or bool(changed) or new_code
    accuracy = _accuracy(ledger, bound, anchor, progress or Silent()) if others else None
    result = Rebinding(bound, bound != model, changed, tuple(sorted(gone)), new_code, accuracy)
    if bound != model:
        _write(ledger, model, result, accept or "")
    return result


def _accuracy(ledger: Ledger, bound: Model, anchor: Version, progress: Progress) -> RegisteredAccuracy:
    """Return how well the weights answer with other images or code: told, and left to the person who accepts them."""
    bench = Workbench(ledger, bound, anchor)
    measured = measure_accuracy(
        bench.network,
        bench.source,
        bound.labels,
        bound.preprocessing,
        seed=bound.settings.seed,
        batch_size=bound.settings.batch_size,
        progress=progress,
        accept_accuracy=True,
        accept_outputs=True,
    )
    # Of classes that the weights have forgotten on purpose, nobody needs a warning.
    return replace(measured, remarks=()) if anchor.forgotten else measured


@dataclass(frozen=True)
class _Comparison:
    """How images differ from those that results rest on."""

    classes: Sequence[ClassChange] = ()
    whole: bool = False
    """Whether they differ without the classes being known: an earlier release, or the source, did not tell them."""


def _compare(model: Model, checked: CheckedData, anchor: Version) -> _Comparison:
    if model.data.classes and checked.contents is not None:
        return _Comparison(changes(model, checked.contents, anchor.forgotten))
    same = model.data_digest in (checked.source.digest, getattr(checked.source, "earlier_digest", None))
    return _Comparison(whole=not same)


def _gone(
    model: Model, checked: CheckedData, found: _Comparison, purged: frozenset[int], forgotten: frozenset[int]
) -> frozenset[int]:
    """Return the classes whose training images are no longer there, though results may rest on their class spaces."""
    if not found.whole:
        went = frozenset(change.class_index for change in found.classes if change.went)
        return went | (model.data.gone - {change.class_index for change in found.classes})
    # What is not known by class may only be missing where it has been forgotten.
    present = {checked.source.labels[k] for k in set(checked.source.train.labels)}
    return frozenset(k for k in forgotten - purged if model.labels[k] not in present)


def _require_classes(model: Model, source: DataSource, without: frozenset[int]) -> None:
    unknown = sorted(set(map(normal, source.labels)) - set(model.labels.labels))
    if unknown:
        raise DataError(f"{', '.join(unknown[:5])} is no class of {model.name}", "labels must equal the model's")
    needed = [label for k, label in enumerate(model.labels.labels) if k not in without]
    require_images(source, needed, "images of classes that are not forgotten may not be missing: restore them")


def _record(
    model: Model, checked: CheckedData, found: _Comparison, gone: frozenset[int], anchor: Version
) -> DataRecord:
    """Return what is known of the images from now on."""
    before = model.data
    if checked.contents is None:
        same = checked.source.digest == model.data_digest
        return before if same else DataRecord(options=checked.options, reusable_from=before.reusable_from)
    now = records(model.labels, checked.contents.classes)
    classes = [
        _class_record(model, k, one, gone=k in gone, whole=found.whole, purged=k in anchor.forgotten)
        for k, one in enumerate(now)
    ]
    others = found.whole or any(
        change.before.train != change.now.train for change in found.classes if change.class_index not in gone
    )
    earlier = () if others else before.earlier
    record = DataRecord(tuple(classes), checked.options, earlier, before.reusable_from)
    if not others and data_digest(model.labels, classes) != model.data_digest:
        record = replace(record, earlier=(*earlier, model.data_digest))
    return record


def _class_record(
    model: Model,
    k: int,
    now: ClassRecord,
    *,
    gone: bool,
    whole: bool,
    purged: bool,
) -> ClassRecord:
    """Return what is known of one class from now on."""
    if not model.data.classes:
        # An earlier release told all classes' images by one digest.
        term = None if whole and not gone else model.data_digest
        return replace(now, gone=gone, term=term)
    before = model.data.classes[k]
    if gone or purged:
        return replace(before, gone=gone)
    return replace(now, term=before.term if now.train == before.train else None)


def _digest(bound: Model, source: DataSource) -> str:
    return data_digest(bound.labels, bound.data.classes) if bound.data.classes else source.digest


def _with_code(ledger: Ledger, model: Model, bound: Model, anchor: Version) -> tuple[Model, bool]:
    """Return the model with the code that builds its network now, and whether that is another than was accepted."""
    spec, options = bound.architecture.spec, bound.architecture.options
    loaded = ledger.plugins.load_model(spec, options, len(model.labels))
    if not loaded.code_path and spec == model.architecture.spec:
        # Code of installed packages is named by its release.
        return bound, False
    with ledger.database.read() as tx:
        accepted = registered_code(tx, model)
        newest = tx.versions.all(model)[-1].number
    code = loaded.code_digest
    if accepted is None or code == accepted:
        return bound, False
    data = replace(bound.data, reusable_from=newest + 1)
    changed = replace(bound, code_digest=code, data=data)
    # The weights must fit what the code builds now.
    Workbench(ledger, changed, anchor).network  # noqa: B018 - opened to see whether it can be
    return changed, True


def _require_unchanged(model: Model, found: _Comparison, gone: frozenset[int], *, new_code: bool) -> None:
    """Require that nothing changed that somebody has to decide about.

    Raises:
        ConflictError: Something did; says what, and the command that accepts it.
    """
    asked = [change for change in found.classes if not change.came_back]
    said = []
    if asked:
        said.append(f"the images of {len(asked):,} of {len(model.labels):,} classes: {describe(model.labels, asked)}")
    elif found.whole:
        said.append("the images, and nothing is known of single classes")
    if new_code:
        said.append("the code that builds the network")
    if said:
        anew = "all class spaces are" if found.whole or new_code else _of_classes(len(asked) - len(gone))
        raise ConflictError(
            f"what {model.name} rests on changed: {'; '.join(said)}; {anew} collected anew if that is accepted",
            "restore what it was, or go on and say why, which is recorded: "
            f"unledger model rebind {model.name} --accept-changes REASON",
        )


def _of_classes(number: int) -> str:
    return f"class spaces of {number:,} are" if number else "no class spaces are"


def _write(ledger: Ledger, before: Model, result: Rebinding, reason: str) -> None:
    now, bound = ledger.clock(), result.model
    with ledger.database.write() as tx:
        if tx.models.get(before.name) != before:
            raise ConflictError(f"{before.name} changed meanwhile", "run the same command again")
        tx.models.rebind(bound)
        moved = bound.architecture.spec != before.architecture.spec
        event = ModelDataChanged(
            previous=before.data_digest,
            data=bound.data_digest,
            row=tx.projections.digest("models", name=bound.name),
            changed=tuple(change.counts() for change in result.changed),
            gone=result.gone,
            skipped=len(bound.data.options.skipped),
            architecture=bound.architecture.spec if moved else None,
            code=bound.code_digest if result.new_code else None,
        )
        tx.audit.append(event, at=now, actor=ledger.actor, model=bound.name, note=reason)
