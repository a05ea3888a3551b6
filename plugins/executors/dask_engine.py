"""Executor ``dask:ADDRESS``: calls are tasks of a Dask scheduler, which runs those of a dead worker again.

A scheduler runs code of anybody who reaches it. TLS with certificates of one's own keeps others out; Dask's
configuration says where they are (``docs/scale.md``), and none of it passes through here.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from ledger.errors import EngineLostError, NotInstalledError, UsageError
from ledger.hookspecs import hookimpl

PREFIX = "dask:"
CONNECT_SECONDS = 20
AWAY_SECONDS, LONELY_SECONDS = 30.0, 120.0
"""Time without a connection, and without a single worker, after which the engine counts as lost."""
_PROVIDED: ContextVar[Mapping[str, bytes]] = ContextVar("provided", default=MappingProxyType({}))


class DaskExecutor(Executor):
    """Runs calls as tasks of a Dask scheduler.

    Args:
        address: Of the scheduler, e.g. ``tls://HOST:8786``.

    Raises:
        EngineLostError: It cannot be reached.
    """

    def __init__(self, address: str) -> None:
        import distributed

        dask: Any = distributed
        try:
            self._client: Any = dask.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="unledger")
        except Exception as error:
            raise EngineLostError(
                f"the Dask scheduler cannot be reached: {type(error).__name__}: {str(error)[:300]}",
                "see that it runs, with the same release of Dask, and that this process has its certificates",
            ) from error
        self._away_since: float | None = None
        self._lonely_since: float | None = None
        # It is meant: a scheduler that holds weights and images can give them to a worker that comes later.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)

    @property
    def workers(self) -> int:
        """Number of workers there are now; units run one at a time in each."""
        return max(1, self._present())

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Submit a call as a task, which depends on what was shared with it."""
        shared = {one.key: one.future for one in _shared_in(args)}
        future: Future[Any] = Future()
        task: Any = self._client.submit(
            _run,
            call,
            args,
            kwargs,
            list(shared),
            list(shared.values()),
            key=f"unledger-unit-{uuid4().hex}",
            pure=False,
        )
        task.add_done_callback(lambda done: _settle(future, done))
        return future

    def share(self, data: bytes) -> Callable[[], bytes]:
        """Make bytes the result of a task: those of a dead worker are made again, which scattered data are not."""
        key = f"unledger-shared-{uuid4().hex}"
        return _Shared(key, self._client.submit(bytes, data, key=key, pure=False))

    def alive(self) -> bool:
        """Whether the scheduler is there, and has had a worker lately."""
        status, now = self._client.status, time.monotonic()
        if status in ("closing", "closed"):
            return False
        # On a busy machine a connection may break off; the client makes another one, and what it lost runs again.
        connected = status == "running"
        self._away_since = None if connected else self._away_since or now
        self._lonely_since = None if connected and self._present() else self._lonely_since or now
        away, lonely = (0.0 if since is None else now - since for since in (self._away_since, self._lonely_since))
        return away < AWAY_SECONDS and lonely < LONELY_SECONDS

    def _present(self) -> int:
        """Return how many workers the scheduler has; a client that lost it knows of none."""
        return len(self._client.scheduler_info(n_workers=-1).get("workers", ()))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001 - as declared
        """Leave the scheduler, which drops what nobody else wants."""
        self._client.close(timeout=2)


def _settle(future: "Future[Any]", done: Any) -> None:
    """Give a future what became of a task."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(done.result(timeout=CONNECT_SECONDS))
    except BaseException as error:  # noqa: BLE001 - also a cancelled task, whose error is no Exception
        future.set_exception(error)


class _Shared:
    """Bytes that a task depends on: here their future, where the call runs the bytes themselves."""

    def __init__(self, key: str, future: Any) -> None:
        self.key = key
        self.future = future

    def __reduce__(self) -> tuple[Any, ...]:
        return _Shared, (self.key, None)

    def __call__(self) -> bytes:
        return _PROVIDED.get()[self.key]


def _shared_in(args: tuple[Any, ...]) -> Iterator[_Shared]:
    for one in args:
        for value in one.values() if isinstance(one, Mapping) else (one,):
            if isinstance(value, _Shared):
                yield value


def _run(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], keys: list[str], held: list[bytes]
) -> Any:
    """In a worker of the cluster: run a call, with the bytes that it depends on."""
    with _providing(dict(zip(keys, held, strict=True))):
        return call(*args, **kwargs)


@contextmanager
def _providing(shared: Mapping[str, bytes]) -> Iterator[None]:
    token = _PROVIDED.set(shared)
    try:
        yield
    finally:
        _PROVIDED.reset(token)


@hookimpl
def unledger_executor(spec: str) -> Executor | None:
    """Answer to ``dask:ADDRESS``.

    Raises:
        UsageError: There is no address.
        NotInstalledError: Dask is not installed.
        EngineLostError: The scheduler cannot be reached.
    """
    if not spec.startswith(PREFIX):
        return None
    address = spec.removeprefix(PREFIX)
    if not address:
        raise UsageError(f"{spec!r} names no Dask scheduler", "write dask:tls://HOST:8786")
    if find_spec("distributed") is None:
        raise NotInstalledError(
            "computing on a Dask cluster needs Dask, which is not installed here",
            "pip install 'unledger[dask]'",
            extra="dask",
        )
    return DaskExecutor(address)
