"""Executor ``local``: units run in the process that needs them, one after the other, on what is open already."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from ledger.hookspecs import hookimpl

SPEC = "local"


class LocalExecutor(Executor):
    """Runs a call at once, where it is submitted."""

    in_process = True
    workers = 1

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run a call; the future is done when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asks the future
            future.set_exception(error)
        return future


@hookimpl
def unledger_executor(spec: str) -> Executor | None:
    """Answer to ``local``."""
    return LocalExecutor() if spec == SPEC else None
