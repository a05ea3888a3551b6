"""The process that is connected to a Ray cluster, and how it is spoken to.

Ray ends the process that is connected to it, without an exception, when what it needs of the cluster on its machine
goes away. So nothing but the connection lives in that process: :class:`RayDriver` starts it, passes calls on to it and
results back, and tells when it is gone.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from typing import Any
from weakref import finalize

TRIES = 8
"""Times that Ray runs a call again whose worker died."""
COUNT_SECONDS = 2.0
"""Between two looks at how large the cluster is."""
PATIENCE = 10.0
"""Seconds that the process has to leave the cluster by itself."""


class DriverGoneError(RuntimeError):
    """The process that was connected to the cluster ended."""


class RayDriver:
    """A process that is connected to a Ray cluster, seen from outside.

    Args:
        address: As ``ray.init`` takes it.
        needs: What a call takes: ``cpus``, ``gpus`` and bytes of ``memory``.
        own: Whether the cluster is one of its own, which ends with it.

    Raises:
        DriverGoneError: It could not connect; says why.
    """

    def __init__(self, address: str, needs: dict[str, float], *, own: bool) -> None:
        self._numbers = count()
        self._calls: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_drive, args=(theirs, address, needs, own), daemon=True)
        self._process.start()
        theirs.close()
        try:
            fine, *told = self._pipe.recv()
        except (EOFError, OSError):
            fine, told = False, ["it ended"]
        if not fine:
            self.close()
            raise DriverGoneError(told[0])
        self.head = str(told[0])
        """Address of the cluster's head."""
        self.workers = int(told[1])
        """Number of calls that run at the same time, as far as it is known now."""
        self._listener.start()

    @property
    def is_there(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def submit(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Future[Any]":
        """Pass a call on.

        Raises:
            DriverGoneError: The process is gone.
        """
        number, future = next(self._numbers), Future[Any]()
        with self._lock:
            self._calls[number] = future
        future.add_done_callback(lambda _: self._calls.pop(number, None))
        self._send(("call", number), (call, args, kwargs))
        return future

    def share(self, data: bytes) -> "SharedBytes":
        """Put bytes into the cluster's object store; they are dropped when nobody holds what this returns.

        Raises:
            DriverGoneError: The process is gone.
        """
        number = next(self._numbers)
        self._send(("put", number), data)
        shared = SharedBytes(number)
        finalize(shared, self._drop, number)
        return shared

    def close(self) -> None:
        """Leave the cluster; what still runs there is dropped."""
        with suppress(DriverGoneError):
            self._send(("leave", None))
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        # It reads until the other end is closed.
        if self._listener.ident is not None:
            self._listener.join()
        self._pipe.close()

    def _send(self, *messages: Any) -> None:
        try:
            with self._lock:
                for message in messages:
                    self._pipe.send(message)
        except OSError as error:
            raise DriverGoneError("the process that was connected to the cluster ended") from error

    def _drop(self, number: int) -> None:
        with suppress(DriverGoneError):
            self._send(("drop", number))

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                number, fine, result = self._pipe.recv()
                if number is None:
                    self.workers = result
                elif (future := self._calls.get(number)) is not None:
                    # Whoever asked may have given it up meanwhile.
                    with suppress(InvalidStateError):
                        future.set_result(result) if fine else future.set_exception(RuntimeError(result))
        for future in tuple(self._calls.values()):
            with suppress(InvalidStateError):
                future.set_exception(DriverGoneError("the process that was connected to the cluster ended"))


class SharedBytes:
    """Bytes in the cluster's object store, for calls that are passed on.

    Args:
        number: What the driver process knows them by.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _stored, (self.number,)

    def __call__(self) -> bytes:
        """What arrives where the call runs returns the bytes; this is only their name.

        Raises:
            TypeError: It was called here.
        """
        raise TypeError("these bytes are on the cluster, and only there")


# -- in the process that is connected ---------------------------------------------------------------------

_STORED: dict[int, "_Stored"] = {}


def _stored(number: int) -> "_Stored":
    return _STORED[number]


class _Stored:
    """Bytes in the object store of the cluster."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def __call__(self) -> bytes:
        import ray

        data: bytes = ray.get(self._reference)
        return data


def _drive(pipe: Connection, address: str, needs: dict[str, float], own: bool) -> None:  # noqa: FBT001 - passed by place
    """Connect, and do what comes through the pipe until it is closed."""
    # Ctrl-C goes to every process of a terminal; what it means is decided by the one that hands out calls.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import ray

    try:
        ray.init(
            address=address,
            namespace="unledger",
            log_to_driver=False,
            configure_logging=False,
            include_dashboard=False if own else None,
        )
        head = str(ray.get_runtime_context().gcs_address)
        workers = _workers(ray, needs)
    except Exception as error:  # noqa: BLE001 - told to whoever waits
        pipe.send((False, f"{type(error).__name__}: {str(error)[:300]}"))
        return
    # From here on, what Ray writes to the terminal is in its log files too; and output may be read by a program.
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    pipe.send((True, head, workers))
    lock, stop = threading.Lock(), threading.Event()

    def tell(number: int | None, fine: bool, result: Any) -> None:  # noqa: FBT001 - passed by place
        with suppress(OSError), lock:
            pipe.send((number, fine, result))

    def count_again() -> None:
        while not stop.wait(COUNT_SECONDS):
            with suppress(Exception):
                tell(None, True, _workers(ray, needs))

    threading.Thread(target=count_again, daemon=True).start()
    _serve(ray, pipe, needs, tell)
    stop.set()
    ray.shutdown()


def _serve(ray: Any, pipe: Connection, needs: dict[str, float], tell: Callable[[int | None, bool, Any], None]) -> None:
    run = ray.remote(_run).options(
        num_cpus=needs["cpus"], num_gpus=needs["gpus"], memory=needs["memory"] or None, max_retries=TRIES
    )

    def done(number: int, future: "Future[Any]") -> None:
        try:
            answer = True, future.result()
        except BaseException as error:  # noqa: BLE001 - engines raise what they like, and cancel what they lost
            answer = False, f"{type(error).__name__}: {error}"
        tell(number, *answer)

    while True:
        try:
            what, number = pipe.recv()
        except (EOFError, OSError):
            return
        if what == "leave":
            return
        if what == "put":
            _STORED[number] = _Stored(ray.put(pipe.recv()))
        elif what == "drop":
            _STORED.pop(number, None)
        else:
            try:
                call, args, kwargs = pipe.recv()
                run.remote(call, args, kwargs).future().add_done_callback(partial(done, number))
            except Exception as error:  # noqa: BLE001 - told to whoever waits for it
                tell(number, False, f"{type(error).__name__}: {error}")


def _run(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """In a worker of the cluster: run a call."""
    return call(*args, **kwargs)


def _workers(ray: Any, needs: dict[str, float]) -> int:
    """Return how many calls the cluster runs at the same time."""
    there = ray.cluster_resources()
    pairs = (("CPU", needs["cpus"]), ("GPU", needs["gpus"]))
    return max(1, min((int(there.get(name, 0) // need) for name, need in pairs if need), default=1))
