"""Read a page without a browser."""

import re


def text_of(page: str) -> str:
    """Return what stands in HTML besides its tags, on one line."""
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page).replace("\u00a0", " "))
