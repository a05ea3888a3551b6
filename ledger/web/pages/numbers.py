"""Numbers in the addresses of pages."""

from typing import Annotated

from fastapi import Path

from ledger.domain.numbers import LARGEST_WHOLE

Number = Annotated[int, Path(ge=0, le=LARGEST_WHOLE)]
NumberFromOne = Annotated[int, Path(ge=1, le=LARGEST_WHOLE)]
"""Of what is never numbered 0: requests and certificates."""
