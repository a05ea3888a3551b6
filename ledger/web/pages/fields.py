"""Fields of forms, with the limits that the API has for the same."""

from typing import Annotated

from fastapi import Form

from ledger.domain.requests import LONGEST_BASIS
from ledger.web.api.values import LONGEST_NOTE, WITHOUT_NUL

LONGEST_WORD = 200
Note = Annotated[str, Form(max_length=LONGEST_NOTE, pattern=WITHOUT_NUL)]
"""What somebody explains."""
Line = Annotated[str, Form(max_length=LONGEST_WORD, pattern=WITHOUT_NUL)]
"""A name, a date, a choice."""
Basis = Annotated[str, Form(max_length=LONGEST_BASIS, pattern=WITHOUT_NUL)]
Address = Annotated[str, Form(max_length=2000, pattern=WITHOUT_NUL)]
Lines = Annotated[str, Form(max_length=200_000, pattern=WITHOUT_NUL)]
"""Many of them, each on a line of its own."""
