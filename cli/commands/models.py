"""``unledger model``: look at registered models; registering one is in ``registration``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.documents import models as documents
from ledger.domain.class_spaces import largest_error
from ledger.domain.command_lines import command
from ledger.domain.data_record import BadImages
from ledger.domain.states import RequestState
from ledger.domain.typed_dates import parse_date
from ledger.errors import IntegrityError
from ledger.service.models.absolute_specs import absolute_spec

from ..answers import answer
from ..model_tables import print_model, print_versions
from ..options import BadImagesOption, Json, ModelName, ModelReference
from ..render import PhaseProgress, accuracy_text, advise, emit_table, minute, percent, say, size
from ..session import session, split_reference
from . import registration

if TYPE_CHECKING:
    from ledger.service.models.rebind import Rebinding

MOST_RETRIED = 3
"""Failed requests of which a command line is printed for each."""

app = typer.Typer(no_args_is_help=True, help="Register models and look at them.")
app.command("add")(registration.add)


@app.command("list")
def list_(ctx: typer.Context, json: Json = False) -> None:
    """List models and what each has forgotten."""
    with session(ctx).desk() as desk:
        found = desk.models.all()
    if json:
        answer(ctx, found)
        return
    emit_table(
        ["model", "architecture", "#classes", "#live", "~forgotten"],
        (
            (m["name"], m["architecture"], len(m["labels"]), m["live"], ", ".join(m["forgotten"]) or "-")
            for m in found["items"]
        ),
    )


@app.command()
def show(ctx: typer.Context, model: ModelReference, json: Json = False) -> None:
    """Show a model, or one version of it."""
    name, number = split_reference(model)
    with session(ctx).desk() as desk:
        found = desk.models.show(name) if number is None else desk.versions.show(name, number)
    if json:
        answer(ctx, found)
    else:
        print_model(found)


@app.command()
def versions(
    ctx: typer.Context,
    model: ModelName,
    at: Annotated[str | None, typer.Option(metavar="DATE", help="Say only what was live at that time.")] = None,
    json: Json = False,
) -> None:
    """List a model's versions, or say which one was live at a time."""
    with session(ctx).desk() as desk:
        if at is None:
            found = desk.versions.all(model)
        else:
            found = desk.versions.live_at(model, parse_date(at, datetime.now(UTC), session(ctx).zone))
    if json:
        answer(ctx, found)
    else:
        print_versions(found["items"])


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
            None if data is None else absolute_spec(data),
            architecture=None if arch is None else absolute_spec(arch),
            accept=accept_changes,
            bad_images=bad_images,
            progress=progress,
        )
        failed = list_requests(ledger, model, [RequestState.FAILED])
    if json:
        with session(ctx).desk() as desk:
            answer(ctx, desk.models.show(model))
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
    with session(ctx).desk() as desk:
        found = desk.models.spaces(model)
    if json:
        answer(ctx, found)
        return
    errors = [largest_error([m["error_bound"] for m in s["maps"]]) for s in found["items"]]
    emit_table(
        ["class", "#images", "#maps", "#largest rank", "#largest error", "#size", "collected"],
        (
            (
                s["class"],
                len(s["samples"]),
                len(s["maps"]),
                max(m["rank"] for m in s["maps"]),
                "" if largest is None else f"{largest:.1e}",
                size(s["size"]),
                minute(s["created_at"]),
            )
            for s, (largest, _) in zip(found["items"], errors, strict=True)
        ),
    )
    unknown = max((count for _, count in errors), default=0)
    if unknown:
        say(f"{unknown} maps of a class are kept as spectra: their error is unknown, and not in the table")
