"""Python's search for garbage, put off where it takes as long as the work itself."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Put the search off while very many objects are made that all stay: it would look through all of them in vain."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
