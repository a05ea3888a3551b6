"""``unledger model``: look at registered models; registering one is in ``registration``."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.documents import models as documents
from ledger.domain.command_lines import command
from ledger.domain.data_record import BadImages
from ledger.domain.retained_accuracy import RetainedAccuracy
from ledger.domain.states import RequestState
from ledger.domain.versions import Version
from ledger.errors import IntegrityError, NotFoundError

from ..answers import answer
from ..options import BadImagesOption, Json, ModelName, ModelReference
from ..render import PhaseProgress, accuracy_text, advise, day, emit_table, percent, say, size
from ..session import session, split_reference
from . import registration

if TYPE_CHECKING:
    from ledger.service.models.rebind import Rebinding
    from ledger.service.versions.model_history import ModelHistory

MOST_RETRIED = 3
"""Failed requests of which a command line is printed for each."""

app = typer.Typer(no_args_is_help=True, help="Register models and look at them.")
app.command("add")(registration.add)


@app.command("list")
def list_(ctx: typer.Context, json: Json = False) -> None:
    """List models and what each has forgotten."""
    from ledger.service.versions.model_history import list_models

    with session(ctx).ledger() as ledger:
        found = list_models(ledger)
    if json:
        answer(ctx, documents.models_document(found))
        return
    emit_table(
        ["model", "architecture", "#classes", "#live", "~forgotten"],
        (
            (m.name, m.architecture.spec, len(m.labels), live.number, ", ".join(m.labels.names(live.forgotten)) or "-")
            for m, live in found
        ),
    )


@app.command()
def show(ctx: typer.Context, model: ModelReference, json: Json = False) -> None:
    """Show a model, or one version of it."""
    name, number = split_reference(model)
    known = _history(ctx, name)
    version = known.live if number is None else _version(known, number)
    measured = known.evidence[version.number]
    if json:
        answer(ctx, documents.model_document(known, version))
        return
    m = known.model
    rows: list[tuple[str, Any]] = [
        ("architecture", m.architecture.spec),
        ("data", m.data_spec),
        ("classes", ", ".join(m.labels.labels)),
        ("registered", m.created_at),
        *_registered_accuracy(known.versions[0]),
        ("live version", known.live.number),
        ("shown version", version.number),
        ("made by", version.kind.value + (f" of request {version.request_id}" if version.request_id else "")),
        ("forgotten", ", ".join(m.labels.names(version.forgotten)) or "-"),
        ("weights", version.weights),
    ]
    recipe = version.recipe
    if recipe.computed:
        rows.append(("solver", recipe.solver))
        rows.append(("edited", f"the last {recipe.depth} of {recipe.layers} layers"))
        rows.append(("alphas (r, f)", f"{recipe.alpha_r:g}, {recipe.alpha_f:g}"))
        rows += recipe.likeness.told(recipe.base_likeness, percent).items()
    if "accuracy" in measured:
        metrics = measured["accuracy"].metrics
        # The evidence does not tell what the version was compared with; the report does.
        retained = RetainedAccuracy.of_metrics(metrics).told(percent, "compared with")
        rows.append(("test accuracy", f"retained {retained}, forgotten {percent(metrics['test']['forgotten'])}"))
    rows += _gates(known)
    emit_table(["", "~"], rows, title=m.name)


@app.command()
def versions(
    ctx: typer.Context,
    model: ModelName,
    at: Annotated[str | None, typer.Option(metavar="DATE", help="Say only what was live at that time.")] = None,
    json: Json = False,
) -> None:
    """List a model's versions, or say which one was live at a time."""
    from ..dates import parse_date

    known = _history(ctx, model)
    shown = known.versions
    if at is not None:
        number = known.live_at(parse_date(at, datetime.now(UTC), session(ctx).config.zone))
        if number is None:
            raise NotFoundError(f"{model} was not yet registered at {at}")
        shown = (_version(known, number),)
    if json:
        answer(ctx, documents.versions_document(known.model, shown, known.live.number, known.levels))
        return
    alone = Counter(day(v.created_at) for v in shown)
    rows = []
    for v in shown:
        accuracy = known.evidence[v.number].get("accuracy")
        test = accuracy.metrics["test"] if accuracy else {}
        rows.append(
            (
                f"{v.number}{' (live)' if v.number == known.live.number else ''}",
                v.kind.value if v.restores is None else f"rollback to {v.restores}",
                v.request_id,
                ", ".join(known.model.labels.names(v.forgotten)) or "-",
                percent(test.get("retained")),
                percent(test.get("forgotten")),
                f"L{known.levels[v.number].value}",
                v.weights[:8] if v.purged_at is None else "purged",
                day(v.created_at) if alone[day(v.created_at)] == 1 else v.created_at,
            )
        )
    emit_table(
        ["#version", "kind", "#req", "~forgotten", "#acc kept", "#acc gone", "level", "weights", "created"], rows
    )


@app.command()
def diff(
    ctx: typer.Context,
    model: ModelName,
    first: Annotated[int, typer.Argument(help="Version number.")],
    second: Annotated[int, typer.Argument(help="Version number.")],
    json: Json = False,
) -> None:
    """Compare two versions' weights, tensor by tensor."""
    from ledger.service.computation.diff import diff as compare

    with session(ctx).ledger() as ledger:
        differences = compare(ledger, model, first, second)
    if json:
        answer(ctx, documents.diff_document(differences))
        return
    rows = (
        (d.name, "x".join(map(str, d.shape)), d.changed, percent(d.relative), f"{d.largest:.2e}") for d in differences
    )
    emit_table(["tensor", "shape", "#changed", "#relative", "#largest"], rows)
    if not differences:
        say("the weights are equal")


@app.command()
def verify(ctx: typer.Context, model: ModelName, json: Json = False) -> None:
    """Re-read every stored object of a model and compare it with its digest."""
    from ledger.service.versions.integrity import verify as check

    with session(ctx).ledger() as ledger:
        results = check(ledger, model)
    if json:
        answer(ctx, documents.objects_document(results))
    else:
        emit_table(["object", "~result"], ((name, problem or "ok") for name, problem in results))
    bad = [name for name, problem in results if problem]
    if bad:
        raise IntegrityError(f"{len(bad)} of {len(results)} objects are damaged", "restore them from a backup")


@app.command()
def rebind(
    ctx: typer.Context,
    model: ModelName,
    data: Annotated[str | None, typer.Option(help="Where the images are now; default: where they were.")] = None,
    arch: Annotated[str | None, typer.Option(help="What builds the network now; default: what did.")] = None,
    accept_changes: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Go on with images or code that changed; the reason is recorded."),
    ] = None,
    bad_images: BadImagesOption = BadImages.REFUSE,
    json: Json = False,
) -> None:
    """Bind a model to its images and its code again: they moved, or changed and that is accepted."""
    from ledger.service.models.rebind import rebind as bind
    from ledger.service.requests.listing import list_requests

    with session(ctx).ledger(acts=True) as ledger, PhaseProgress() as progress:
        taken = bind(
            ledger,
            model,
            None if data is None else registration.absolute_spec(data),
            architecture=None if arch is None else registration.absolute_spec(arch),
            accept=accept_changes,
            bad_images=bad_images,
            progress=progress,
        )
        failed = list_requests(ledger, model, [RequestState.FAILED])
    if json:
        known = _history(ctx, model)
        answer(ctx, documents.model_document(known, known.live))
    _say_rebound(taken)
    for _, request in failed[:MOST_RETRIED]:
        advise("next:", command("request", "retry", request.id))
    if len(failed) > MOST_RETRIED:
        advise("next:", command("request", "list", model, "--state", RequestState.FAILED.value))


def _say_rebound(taken: "Rebinding") -> None:
    model = taken.model
    if taken.nothing:
        say(f"nothing changed: images and code of {model.name} are those it is bound to")
        return
    say(f"{model.name} reads its images from {model.data_spec}")
    if taken.changed:
        names = model.labels.names(change.class_index for change in taken.changed)
        say(f"class spaces are collected anew, when they are needed, of: {', '.join(names)}")
    if taken.gone:
        say(f"images are gone, and class spaces are kept, of: {', '.join(model.labels.names(taken.gone))}")
    if taken.new_code:
        say("other code builds the network: all class spaces are collected anew, when they are needed")
    elif model.data.classes:
        kept = len(model.labels) - len(taken.changed)
        say(f"class spaces of {kept:,} of {len(model.labels):,} classes stay in use, where they were collected")
    if taken.accuracy is not None:
        say(f"accuracy now, with nothing forgotten: {accuracy_text(taken.accuracy)}")
        for remark in taken.accuracy.remarks:
            advise("warning:", remark, "yellow")


@app.command()
def export(
    ctx: typer.Context,
    model: ModelReference,
    folder: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    hide_forgotten: Annotated[
        bool, typer.Option("--hide-forgotten", help="Leave out the labels of forgotten classes.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a version's weights, labels, preprocessing, provenance and model card to a folder."""
    from ledger.service.versions.export import export as write

    name, number = split_reference(model)
    with session(ctx).ledger(acts=True) as ledger:
        version = write(ledger, name, number, folder, hide_forgotten=hide_forgotten)
    if json:
        answer(ctx, documents.exported_document(name, version, folder))
    say(f"wrote version {version.number} of {name} to {folder}")


@app.command()
def coverage(ctx: typer.Context, model: ModelName, json: Json = False) -> None:
    """List every parameter: edited, untouched by design, or unhandled."""
    from ledger.service.models.coverage import coverage as cover

    with session(ctx).ledger() as ledger:
        parameters = cover(ledger, model)
    if json:
        answer(ctx, documents.coverage_document(parameters))
        return
    emit_table(
        ["parameter", "shape", "treatment", "~by"],
        ((p.name, "x".join(map(str, p.shape)), p.treatment.value, p.detail) for p in parameters),
    )


@app.command()
def spaces(ctx: typer.Context, model: ModelName, json: Json = False) -> None:
    """List the stored class spaces: images, ranks, error bounds, bytes."""
    known = _history(ctx, model)
    if json:
        answer(ctx, documents.class_spaces_document(known.spaces))
        return
    emit_table(
        ["class", "#images", "#maps", "#largest rank", "#largest error", "#size", "collected"],
        (
            (
                known.model.labels[s.class_index],
                len(s.samples),
                len(s.maps),
                max(m.rank for m in s.maps),
                f"{max(m.error_bound for m in s.maps):.1e}",
                size(s.size),
                s.created_at,
            )
            for s in known.spaces
        ),
    )


def _registered_accuracy(base: Version) -> Iterator[tuple[str, str]]:
    accuracy = base.recipe.registered_accuracy
    if accuracy is not None:
        yield "accuracy then", accuracy_text(accuracy)
        yield from (("", remark) for remark in accuracy.remarks)


def _gates(known: "ModelHistory") -> Iterator[tuple[str, str]]:
    """Yield what new versions have to pass."""
    gates = known.gates
    policy = gates.policy
    yield "gates", f"{policy.level.title}; digest {known.gates_digest}"
    for condition in policy.conditions:
        yield "  on test images", str(condition)
    yield "  on calibration images", f"accuracy on each forgotten class <= {percent(gates.max_forgotten_accuracy)}"
    yield "  on calibration images", f"retained classes lose <= {100 * gates.max_retained_drop:.1f} points"
    for one in policy.retrained:
        yield "  retrained weights", f"{one.weights}, without {', '.join(sorted(one.without))}, says {one.by}"


def _history(ctx: typer.Context, name: str) -> "ModelHistory":
    from ledger.service.versions.model_history import read_model_history

    with session(ctx).ledger() as ledger:
        return read_model_history(ledger, name)


def _version(known: "ModelHistory", number: int) -> Version:
    found = [version for version in known.versions if version.number == number]
    if not found:
        raise NotFoundError(f"{known.model.name} has no version {number}", f"its last is {known.versions[-1].number}")
    return found[0]
