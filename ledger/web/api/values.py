"""Values that requests hold: numbers and texts that a database can store, moments with a zone."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from ledger.domain.numbers import LARGEST_WHOLE
from ledger.domain.years import DAY, has_taken_year, untaken_year
from ledger.web.answers import DEFAULT_ITEMS, MOST_ITEMS

PREFIX = "/api/v1"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
LONGEST_NOTE = 10_000
WITHOUT_NUL = r"^[^\x00]*$"
"""Databases take no other texts."""
MOST_NAMES = 50
"""Names that an object holds at most; none that is known has half as many."""


def read_moment(value: object) -> datetime:
    """Return a moment that was written as RFC 3339 has it, in a year in which every time zone has a calendar.

    Raises:
        ValueError: It was not, or lies in another year.
    """
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
        raise ValueError("this is no moment: write it as in 2026-11-30T12:00:00+01:00, with the offset")
    moment = datetime.fromisoformat(value.upper())
    try:
        # No time zone is farther from UTC than a day.
        taken = all(has_taken_year(moment.astimezone(UTC) + away) for away in (-DAY, DAY))
    except OverflowError:
        taken = False
    if not taken:
        raise ValueError(untaken_year("this moment").message)
    return moment


def read_whole(value: object) -> object:
    """Return a whole number as one: to JSON, 2.0 is as whole as 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


SHOWN_YEARS = r"(190[1-9]|19[1-9]\d|[2-8]\d{3}|9[0-8]\d{2}|99[0-8]\d|999[0-7])"
"""Years that are taken whole: the first and the last that the ledger knows lose a day to the time zones."""
MOMENT: dict[str, Any] = {
    "type": "string",
    "format": "date-time",
    "pattern": rf"^{SHOWN_YEARS}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
    r"(\.\d{1,6})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$",
}
Moment = Annotated[datetime, BeforeValidator(read_moment), WithJsonSchema(MOMENT)]
Text = Annotated[str, StringConstraints(strict=True, max_length=LONGEST_NOTE, pattern=WITHOUT_NUL)]
Word = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200, pattern=WITHOUT_NUL)]
Whole = Annotated[
    int,
    BeforeValidator(read_whole),
    Field(strict=True, ge=0, le=LARGEST_WHOLE),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": LARGEST_WHOLE}),
]
Number = Annotated[
    int,
    BeforeValidator(read_whole),
    Field(strict=True, ge=1, le=LARGEST_WHOLE),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_WHOLE}),
]
Flag = StrictBool

ModelId = Annotated[int, Path(ge=1, le=LARGEST_WHOLE, description="A model's number.")]
VersionNumber = Annotated[
    int, Path(ge=0, le=LARGEST_WHOLE, description="A version's number; 0 is what was registered.")
]
RequestId = Annotated[int, Path(ge=1, le=LARGEST_WHOLE, description="A request's number.")]
JobId = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$", description="Identifier of what a worker was asked for.")]
CertificateId = Annotated[int, Path(ge=1, le=LARGEST_WHOLE, description="A certificate's number.")]
After = Annotated[int, Query(ge=0, le=LARGEST_WHOLE, description="Only what comes after this one; Link gives it.")]
Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description=f"Items in one answer; {DEFAULT_ITEMS} if not said.")]
OptionalModelId = Annotated[int | None, Query(ge=1, le=LARGEST_WHOLE, description="Only of this model.")]


class Body(BaseModel):
    """A body of a request: nothing in it goes unread."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_names(cls, value: Any) -> Any:
        # Each name that is not known is a fault of its own: very many of them take longer to tell than to read.
        if isinstance(value, dict) and len(value) > MOST_NAMES:
            raise ValueError("no body has that many names")
        return value
