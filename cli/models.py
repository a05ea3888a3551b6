"""``unledger model``: register models and look at them."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.errors import IntegrityError, NotFoundError, UsageError

from . import documents
from .completion import model_names
from .people import session, split_reference
from .render import emit_json, emit_table, percent, say, size
from .setup import Json

if TYPE_CHECKING:
    from ledger.service.history import History

app = typer.Typer(no_args_is_help=True, help="Register models and look at them.")
Name = Annotated[str, typer.Argument(metavar="MODEL", autocompletion=model_names, help="A model's name.")]
Reference = Annotated[
    str, typer.Argument(metavar="MODEL[:N]", autocompletion=model_names, help="A model, or one version of it.")
]


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    arch: Annotated[str, typer.Option(help="timm/ARCH, pkg.mod:factory or FILE.py:factory.")],
    weights: Annotated[Path, typer.Option(help="A safetensors file; kept as version 0.")],
    data: Annotated[str, typer.Option(help="digits, folder:PATH (train/ and test/ or val/) or npz:PATH.")],
    labels: Annotated[
        Path | None, typer.Option(help="Class labels in output order, one a line. Default: the data's.")
    ] = None,
    arch_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Argument of the architecture, e.g. in_chans=1.")
    ] = None,
    preprocessing: Annotated[
        Path | None, typer.Option(help="JSON with input_size, mean, std, interpolation, crop_pct (timm's names).")
    ] = None,
    input_size: Annotated[str | None, typer.Option(metavar="CxHxW", help="E.g. 3x32x32.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="M[,M,M]", help="Per channel, of pixels in [0, 1].")] = None,
    std: Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Per channel.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the unlearning, e.g. retain_samples=50."),
    ] = None,
    allow_unhandled: Annotated[
        list[str] | None, typer.Option(metavar="WEIGHT", help="Accept that this weight is never edited.")
    ] = None,
) -> None:
    """Register a trained model with its weights, labels and data."""
    from ledger.domain.records import Architecture
    from ledger.domain.settings import Settings
    from ledger.service.registry import Registration, register

    if Path(weights).is_dir():
        raise UsageError(f"{weights} is a folder", "name the safetensors file in it")
    registration = Registration(
        name=name,
        architecture=Architecture(_absolute(arch), dict(_pair(text) for text in arch_option or ())),
        weights=weights,
        data_spec=_absolute(data),
        labels=_label_lines(labels),
        preprocessing=_preprocessing(preprocessing, input_size, mean, std),
        settings=_settings(Settings, setting or []),
        allow_unhandled=frozenset(allow_unhandled or ()),
    )
    with session(ctx).ledger() as ledger:
        model = register(ledger, registration)
    say(f"registered {model.name} with {len(model.labels)} classes as version 0")
    say(f"next: unledger preview {model.name} -c CLASS")


@app.command("list")
def list_(ctx: typer.Context, json: Json = False) -> None:
    """List models and what each has forgotten."""
    from ledger.service.history import list_models

    with session(ctx).ledger() as ledger:
        found = list_models(ledger)
    if json:
        emit_json(documents.listing("models", (documents.model(m, live) for m, live in found)))
        return
    emit_table(
        ["model", "architecture", "#classes", "#live", "~forgotten"],
        (
            (m.name, m.architecture.spec, len(m.labels), live.number, ", ".join(m.labels.names(live.forgotten)) or "-")
            for m, live in found
        ),
    )


@app.command()
def show(ctx: typer.Context, model: Reference, json: Json = False) -> None:
    """Show a model, or one version of it."""
    name, number = split_reference(model)
    known = _history(ctx, name)
    version = known.live if number is None else _version(known, number)
    measured = known.evidence[version.number]
    if json:
        body = documents.model(known.model, known.live)
        body["version"] = documents.version(version, known.model, known.live.number)
        body["evidence"] = [documents.evidence(e) for e in measured.values()]
        emit_json(documents.document("model", body))
        return
    m = known.model
    rows: list[tuple[str, Any]] = [
        ("architecture", m.architecture.spec),
        ("data", m.data_spec),
        ("classes", ", ".join(m.labels.labels)),
        ("registered", m.created_at),
        ("live version", known.live.number),
        ("shown version", version.number),
        ("made by", version.kind.value + (f" of request {version.request_id}" if version.request_id else "")),
        ("forgotten", ", ".join(m.labels.names(version.forgotten)) or "-"),
        ("weights", version.weights),
    ]
    if "alpha_r" in version.recipe:
        rows.append(("alphas (r, f)", f"{version.recipe['alpha_r']:g}, {version.recipe['alpha_f']:g}"))
    if "accuracy" in measured:
        test = measured["accuracy"].metrics["test"]
        rows.append(("test accuracy", f"retained {percent(test['retained'])}, forgotten {percent(test['forgotten'])}"))
    emit_table(["", "~"], rows, title=m.name)


@app.command()
def versions(
    ctx: typer.Context,
    model: Name,
    at: Annotated[str | None, typer.Option(metavar="DATE", help="Say only what was live at that time.")] = None,
    json: Json = False,
) -> None:
    """List a model's versions, or say which one was live at a time."""
    from .dates import parse_date

    known = _history(ctx, model)
    shown = known.versions
    if at is not None:
        number = known.live_at(parse_date(at))
        if number is None:
            raise NotFoundError(f"{model} was not yet registered at {at}")
        shown = (_version(known, number),)
    if json:
        items = (documents.version(v, known.model, known.live.number) for v in shown)
        emit_json(documents.listing("versions", items))
        return
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
                v.weights[:8],
                f"{v.created_at:%Y-%m-%d}",
            )
        )
    emit_table(["#version", "kind", "#req", "~forgotten", "#kept", "#gone", "weights", "created"], rows)


@app.command()
def diff(
    ctx: typer.Context,
    model: Name,
    first: Annotated[int, typer.Argument(help="Version number.")],
    second: Annotated[int, typer.Argument(help="Version number.")],
    json: Json = False,
) -> None:
    """Compare two versions' weights, tensor by tensor."""
    from ledger.service.registry import diff as compare

    with session(ctx).ledger() as ledger:
        differences = compare(ledger, model, first, second)
    if json:
        emit_json(documents.listing("diff", (vars(d) for d in differences)))
        return
    rows = (
        (d.name, "x".join(map(str, d.shape)), d.changed, percent(d.relative), f"{d.largest:.2e}") for d in differences
    )
    emit_table(["tensor", "shape", "#changed", "#relative", "#largest"], rows)
    if not differences:
        say("the weights are equal")


@app.command()
def verify(ctx: typer.Context, model: Name, json: Json = False) -> None:
    """Re-read every stored object of a model and compare it with its digest."""
    from ledger.service.registry import verify as check

    with session(ctx).ledger() as ledger:
        results = check(ledger, model)
    if json:
        emit_json(documents.listing("verification", ({"object": n, "problem": p or None} for n, p in results)))
    else:
        emit_table(["object", "~result"], ((name, problem or "ok") for name, problem in results))
    bad = [name for name, problem in results if problem]
    if bad:
        raise IntegrityError(f"{len(bad)} of {len(results)} objects are damaged", "restore them from a backup")


@app.command()
def export(
    ctx: typer.Context,
    model: Reference,
    folder: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
) -> None:
    """Write a version's weights, labels, preprocessing and provenance to a folder."""
    from ledger.service.registry import export as write

    name, number = split_reference(model)
    with session(ctx).ledger() as ledger:
        version = write(ledger, name, number, folder)
    say(f"wrote version {version.number} of {name} to {folder}")


@app.command()
def coverage(ctx: typer.Context, model: Name, json: Json = False) -> None:
    """List every parameter: edited, untouched by design, or unhandled."""
    from ledger.service.registry import coverage as cover

    with session(ctx).ledger() as ledger:
        parameters = cover(ledger, model)
    if json:
        items = ({**vars(p), "treatment": p.treatment.value} for p in parameters)
        emit_json(documents.listing("coverage", items))
        return
    emit_table(
        ["parameter", "shape", "treatment", "~by"],
        ((p.name, "x".join(map(str, p.shape)), p.treatment.value, p.detail) for p in parameters),
    )


@app.command()
def spaces(ctx: typer.Context, model: Name, json: Json = False) -> None:
    """List the stored class spaces: images, ranks, error bounds, bytes."""
    known = _history(ctx, model)
    if json:
        items = ({**vars(s), "maps": [vars(m) for m in s.maps]} for s in known.spaces)
        emit_json(documents.listing("class_spaces", items))
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


def _history(ctx: typer.Context, name: str) -> "History":
    from ledger.service.history import history

    with session(ctx).ledger() as ledger:
        return history(ledger, name)


def _version(known: "History", number: int) -> Any:
    found = [version for version in known.versions if version.number == number]
    if not found:
        raise NotFoundError(f"{known.model.name} has no version {number}", f"its last is {known.versions[-1].number}")
    return found[0]


def _absolute(spec: str) -> str:
    """Return ``KIND:PATH`` or ``FILE.py:factory`` with an absolute path: later commands run elsewhere."""
    kind, _, path = spec.partition(":")
    if kind in ("folder", "npz"):
        return f"{kind}:{Path(path).expanduser().resolve()}"
    file, _, factory = spec.rpartition(":")
    return f"{Path(file).expanduser().resolve()}:{factory}" if file.endswith(".py") else spec


def _label_lines(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read labels from {path}: {error}") from error


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is not KEY=VALUE")
    try:
        return key, jsonlib.loads(value)
    except ValueError:
        return key, value


def _settings(kind: Any, texts: list[str]) -> Any:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in map(_pair, texts)}
    known = kind().to_json()
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise UsageError(f"there is no setting called {', '.join(unknown)}", f"settings: {', '.join(known)}")
    for key, value in values.items():
        if isinstance(known[key], tuple) != isinstance(value, tuple) or isinstance(value, str | bool):
            raise UsageError(
                f"{key} cannot be {value!r}", f"its default is {known[key]!r}; lists are written as [1, 2]"
            )
    return kind(**values)


def _preprocessing(path: Path | None, input_size: str | None, mean: str | None, std: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = jsonlib.loads(path.read_text())
            values = {"interpolation": loaded["interpolation"]} if "interpolation" in loaded else {}
            values |= {"crop_fraction": float(loaded["crop_pct"])} if "crop_pct" in loaded else {}
            values |= {k: tuple(float(x) for x in loaded[k]) for k in ("mean", "std") if k in loaded}
            if "input_size" in loaded:
                values |= dict(zip(("channels", "height", "width"), map(int, loaded["input_size"]), strict=True))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"cannot read preprocessing from {path}: {error}") from error
    try:
        if input_size is not None:
            values |= dict(zip(("channels", "height", "width"), map(int, input_size.split("x")), strict=True))
        if mean is not None:
            values["mean"] = tuple(float(x) for x in mean.split(","))
        if std is not None:
            values["std"] = tuple(float(x) for x in std.split(","))
    except ValueError as error:
        raise UsageError(
            f"cannot read the preprocessing: {error}", "e.g. --input-size 3x32x32 --mean 0.5,0.5,0.5"
        ) from error
    return values
