"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.domain.data_record import BadImages

from .completion import class_labels, model_names, request_numbers

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table; errors too.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON document a line; errors too.")]

ModelName = Annotated[str, typer.Argument(metavar="MODEL", autocompletion=model_names, help="A model's name.")]
OptionalModel = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", autocompletion=model_names, help="Only this model.")
]
ModelReference = Annotated[
    str, typer.Argument(metavar="MODEL[:N]", autocompletion=model_names, help="A model, or one version of it.")
]
RequestNumber = Annotated[int, typer.Argument(metavar="ID", autocompletion=request_numbers, help="A request's number.")]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        "-c",
        metavar="CLASS",
        autocompletion=class_labels,
        help="Label, or an index where no label is a number.",
    ),
]
Indices = Annotated[
    list[int] | None, typer.Option("--index", metavar="N", min=0, help="Index of a class, from 0; repeatable.")
]

BadImagesOption = Annotated[
    BadImages,
    typer.Option("--bad-images", help="What to do about images that cannot be read; what is left out is recorded."),
]
Upright = Annotated[
    bool, typer.Option("--upright", help="Turn images as their EXIF orientation says; torchvision does not.")
]
Reason = Annotated[str, typer.Option(help="Why; kept beside the audit history.")]
WaiveGates = Annotated[bool, typer.Option(help="As --waive; the reason is that of --reason.")]
Waive = Annotated[
    str | None,
    typer.Option(
        "--waive", metavar="REASON", help="Accept the result even if it misses a quality gate; why is recorded."
    ),
]
Solvers = Annotated[
    list[str] | None,
    typer.Option("--solver", metavar="NAME", help="Compute it by this solver in the place of the model's; repeatable."),
]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="SPEC",
        help="Who runs the parts of a computation: local, processes:N, ray:ADDRESS or dask:ADDRESS; default: what "
        "unledger.toml says.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what it would do, and stop.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="A new file; default: stdout.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace another file of that name; files of a ledger and links never.")
]
VerifierKey = Annotated[
    str | None, typer.Option("--key", metavar="VERIFIERKEY", help="Who must have signed, as audit key prints it.")
]
