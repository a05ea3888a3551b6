"""``unledger model add``: read the description of a model from options."""

import json as jsonlib
import math
import shlex
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ledger.documents.models import model_document
from ledger.domain.command_lines import command
from ledger.domain.data_record import BadImages, DataOptions, parse_split
from ledger.domain.label_orders import LabelOrder
from ledger.errors import AccuracyError, UsageError
from ledger.json_shapes import value_as
from ledger.service.models.absolute_specs import absolute_spec
from ledger.service.models.label_files import read_labels
from ledger.service.models.preprocessing_files import described, read_preprocessing

from ..answers import answer
from ..options import BadImagesOption, Json, Upright
from ..output import emit_file, require_free
from ..render import PhaseProgress, accuracy_text, advise, say
from ..session import session
from ..sizes import parse_size

MOST_FITTING = 20
"""Labels of a better order that are shown."""


def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    arch: Annotated[
        str,
        typer.Option(
            help="timm/ARCH, torchvision/NAME, local-dir:FOLDER or hf-hub:NAME (as timm writes them), "
            "pkg.mod:factory or FILE.py:factory."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="folder:PATH (train/ and test/ or val/), csv:FILE, npz:FILE, parquet:PATH, hfds:PATH, wds:PATH, "
            "torchvision:NAME:PATH, digits or digit-pairs."
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(help="A safetensors file; kept as version 0. Default: that in local-dir:FOLDER or hf-hub:NAME."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Class labels in output order: lines, or JSON (list, class_to_idx, id2label, config.json). "
            "Default: the data's."
        ),
    ] = None,
    label_order: Annotated[
        LabelOrder | None, typer.Option(help="Without --labels: how the training program sorted the class names.")
    ] = None,
    arch_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Argument of the architecture, e.g. in_chans=1.")
    ] = None,
    preprocessing: Annotated[
        Path | None,
        typer.Option(help="JSON: config.json of timm or of model export, or Hugging Face's preprocessor_config.json."),
    ] = None,
    input_size: Annotated[str | None, typer.Option(metavar="CxHxW", help="E.g. 3x32x32.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="M[,M,M]", help="Per channel, of pixels in [0, 1].")] = None,
    std: Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Per channel.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the unlearning, e.g. retain_samples=50."),
    ] = None,
    samples_per_class: Annotated[
        int | None,
        typer.Option(metavar="N", help="Images of each class to look at, retained or forgotten. Default: 100 and 900."),
    ] = None,
    solver: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Try only this solver; repeatable. Default: redirect, and where it costs too much the others.",
        ),
    ] = None,
    depth: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Edit only the last N layers; repeatable. Default: searched.")
    ] = None,
    alpha_r: Annotated[
        list[float] | None, typer.Option(help="Fix how strongly retained classes are protected; repeatable.")
    ] = None,
    alpha_f: Annotated[
        list[float] | None, typer.Option(help="Fix how strongly forgotten classes are removed; repeatable.")
    ] = None,
    allow_unhandled: Annotated[
        list[str] | None, typer.Option(metavar="WEIGHT", help="Accept that this weight is never edited.")
    ] = None,
    bad_images: BadImagesOption = BadImages.REFUSE,
    upright: Upright = False,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="TRAIN/TEST", help="Set a part of each class aside as test images, e.g. 0.8/0.2; recorded."
        ),
    ] = None,
    accept_accuracy: Annotated[
        bool, typer.Option("--accept-accuracy", help="Register it although it is no better than chance; recorded.")
    ] = False,
    accept_outputs: Annotated[
        bool, typer.Option("--accept-outputs", help="Register it although it returns probabilities; recorded.")
    ] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Draw a few test images of each class as the network gets them, with its answers, to this new file.",
        ),
    ] = None,
    write_labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="If other labels fit the outputs better, write them to this new file."),
    ] = None,
    json: Json = False,
) -> None:
    """Register a trained model with its weights, labels and data."""
    from ledger.domain.models import Architecture
    from ledger.domain.settings import Settings
    from ledger.service.models.registration import Registration, register
    from ledger.service.versions.model_history import read_model_history

    if labels is not None and label_order is not None:
        raise UsageError("--labels and --label-order exclude each other", "a file of labels is an order already")
    require_free(ctx, write_labels, force=False)
    settings = _settings(
        Settings,
        [*_sample_settings(samples_per_class), *(setting or ())],
        {"solvers": solver, "depths": depth, "alpha_r": alpha_r, "alpha_f": alpha_f},
    )
    share = 0.0 if split is None else parse_split(split)
    registration = Registration(
        name=name,
        architecture=Architecture(absolute_spec(arch), dict(_pair(text) for text in arch_option or ())),
        weights=weights,
        data_spec=absolute_spec(data),
        labels=None if labels is None else read_labels(labels),
        preprocessing=_preprocessing(preprocessing, input_size, mean, std),
        settings=settings,
        allow_unhandled=frozenset(allow_unhandled or ()),
        bad_images=bad_images,
        data_options=DataOptions((), upright, share, settings.seed if share else 0),
        label_order=label_order,
        accept_accuracy=accept_accuracy,
        accept_outputs=accept_outputs,
        contact_sheet=contact_sheet,
    )
    with session(ctx).ledger(acts=True) as ledger:
        try:
            with PhaseProgress() as progress:
                model = register(ledger, registration, progress)
        except AccuracyError as error:
            if error.fits:
                _say_what_fits(error.fits)
                if write_labels is not None:
                    text = jsonlib.dumps(error.fits, ensure_ascii=False, indent=1) + "\n"
                    emit_file(ctx, text.encode(), write_labels)
                    say(f"wrote them to {write_labels}; look at them, then: --labels {shlex.quote(str(write_labels))}")
            raise
        if contact_sheet is not None:
            say(f"wrote what the network sees to {contact_sheet}")
        known = read_model_history(ledger, model.name)
        live = known.live
        if json:
            answer(ctx, model_document(known, live))
    say(f"registered {model.name} with {len(model.labels)} classes as version 0")
    if labels is None:
        say(f"labels: {_assumed_order(model.labels.labels, registration.data_spec, label_order)}")
    accuracy = live.recipe.registered_accuracy
    if accuracy is not None:
        say(f"accuracy: {accuracy_text(accuracy)}")
        for remark in accuracy.remarks:
            say(("warning:", "yellow"), f" {remark}")
    advise("next:", f"{command('preview', model.name)} -c CLASS")


def _say_what_fits(fits: tuple[str, ...]) -> None:
    """Show which labels fit the outputs."""
    say("labels that fit the outputs better:")
    for k, label in enumerate(fits[:MOST_FITTING]):
        say(f"  output {k:>{len(str(len(fits)))}}: {label}")
    if len(fits) > MOST_FITTING:
        say(f"  and {len(fits) - MOST_FITTING} more")


def _assumed_order(labels: tuple[str, ...], data_spec: str, chosen: LabelOrder | None) -> str:
    """Say in which order the labels were taken for the outputs, where nobody named a file."""
    if chosen is not None:
        return f"sorted as {chosen.value} does"
    if not data_spec.startswith(("folder:", "csv:")):
        return "in the order of the data"
    other = LabelOrder.TIMM.sort(labels) != labels
    what = "folders" if data_spec.startswith("folder:") else "classes"
    note = "; timm sorts these names otherwise: --label-order timm" if other else ""
    return f"{what} in code point order, as torchvision sorts them{note}"


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is not KEY=VALUE")
    try:
        return key, jsonlib.loads(value)
    except ValueError:
        return key, value
    except RecursionError:
        raise UsageError(f"the value of {key} is nested too deeply") from None


def _sample_settings(count: int | None) -> list[str]:
    return [] if count is None else [f"retain_samples={count}", f"forget_samples={count}"]


def _settings(kind: Any, texts: list[str], options: dict[str, list[Any] | None]) -> Any:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in map(_pair, texts)}
    values |= {key: tuple(value) for key, value in options.items() if value}
    known, types = kind().to_json(), get_type_hints(kind)
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise UsageError(f"there is no setting called {', '.join(unknown)}", f"settings: {', '.join(known)}")
    for key, value in values.items():
        if not _fits(value, types[key]):
            raise UsageError(
                f"{key} cannot be {value!r}", f"its default is {known[key]!r}; lists are written as [1, 2]"
            )
    return kind(**values)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value has a setting's type and, if it holds numbers, each is finite."""
    try:
        value_as(kind, value)
    except ValueError:
        return False
    return all(
        math.isfinite(one) for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, float)
    )


def _preprocessing(path: Path | None, input_size: str | None, mean: str | None, std: str | None) -> dict[str, Any]:
    """Return what a file and the options say; the options go before the file."""
    values: dict[str, Any] = {}
    if path is not None:
        read = read_preprocessing(path)
        values |= read.values
        say(f"preprocessing: {described(values)} read from {path}, in the words of {read.kind}")
    try:
        if input_size is not None:
            values |= parse_size(input_size)
        if mean is not None:
            values["mean"] = tuple(float(x) for x in mean.split(","))
        if std is not None:
            values["std"] = tuple(float(x) for x in std.split(","))
    except ValueError as error:
        raise UsageError(
            f"cannot read the preprocessing: {error}", "e.g. --input-size 3x32x32 --mean 0.5,0.5,0.5"
        ) from error
    return values
