"""Executor ``ray:ADDRESS``: calls are tasks of a Ray cluster, which runs those of a dead worker again.

Ray runs code of anybody who reaches it, so a cluster has to ask for a token (``docs/scale.md``). Environment variables
of Ray's own say which (``RAY_AUTH_MODE``, ``RAY_AUTH_TOKEN_PATH``); none of it passes through here.
"""

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl

from ledger.errors import EngineLostError, NotInstalledError, UsageError
from ledger.hookspecs import hookimpl

from .ray_driver import DriverGoneError, RayDriver

PREFIX = "ray:"
LOCAL = "local"
"""Address of a cluster of one's own on this machine, which ends with this process."""
LOOK_SECONDS, AWAY_SECONDS = 3.0, 10.0
"""Time for the head to answer, and time without an answer after which the engine counts as lost."""
NEEDS = {"cpus": 1.0, "gpus": 0.0, "memory": 0.0}
"""What may be said of a call behind the address, and what it takes where nothing is said: processors, GPUs, bytes."""


class RayExecutor(Executor):
    """Runs calls as tasks of a Ray cluster.

    Args:
        address: ``HOST:PORT`` of its head, ``auto`` for the one that this machine belongs to, or ``local``.
        needs: What a call takes, by the names of :data:`NEEDS`.

    Raises:
        EngineLostError: It cannot be reached.
    """

    def __init__(self, address: str, needs: dict[str, float]) -> None:
        # Without a word to anybody: Ray reports how it is used unless it is told not to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            # Ray itself would ask for minutes whether somebody is there by now.
            if "://" not in address and ":" in address:
                _knock(address)
            self._driver = RayDriver(address, needs, own=address == LOCAL)
        except (OSError, ValueError, DriverGoneError) as error:
            raise EngineLostError(
                f"the Ray cluster cannot be reached: {str(error)[:300]}",
                "see that it runs, with the same release of Ray, and that this process has its token",
            ) from error
        self._away_since: float | None = None

    @property
    def workers(self) -> int:
        """Number of calls that the cluster runs at the same time, as far as it is known now."""
        return self._driver.workers

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Submit a call as a task.

        Raises:
            DriverGoneError: The connection was lost.
        """
        return self._driver.submit(call, args, kwargs)

    def share(self, data: bytes) -> Callable[[], bytes]:
        """Put bytes into the cluster's object store; they are dropped when nobody holds what this returns."""
        return self._driver.share(data)

    def alive(self) -> bool:
        """Whether somebody is connected, and the head answers."""
        if not self._driver.is_there:
            return False
        try:
            _knock(self._driver.head)
        except OSError:
            self._away_since = self._away_since or time.monotonic()
            return time.monotonic() - self._away_since < AWAY_SECONDS
        self._away_since = None
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001 - as declared
        """Leave the cluster; what still runs there is dropped."""
        self._driver.close()


def _knock(address: str) -> None:
    """Connect to ``HOST:PORT`` and leave.

    Raises:
        OSError: Nobody is there.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_SECONDS).close()


def _parsed(said: str) -> tuple[str, dict[str, float]]:
    address, _, options = said.partition("?")
    try:
        stated = {name: float(value) for name, value in parse_qsl(options, strict_parsing=True)} if options else {}
    except ValueError:
        stated = {"": 0.0}
    if not address or set(stated) - set(NEEDS) or any(not 0 <= value < 2**60 for value in stated.values()):
        raise UsageError(
            f"{PREFIX + said!r} names no Ray cluster",
            "write ray:HOST:PORT, ray:auto or ray:local; behind it, what a unit takes: ray:auto?cpus=4&gpus=1",
        )
    return address, NEEDS | stated


@hookimpl
def unledger_executor(spec: str) -> Executor | None:
    """Answer to ``ray:ADDRESS``.

    Raises:
        UsageError: The address or what stands behind it is wrong.
        NotInstalledError: Ray is not installed.
        EngineLostError: The cluster cannot be reached.
    """
    if not spec.startswith(PREFIX):
        return None
    address, needs = _parsed(spec.removeprefix(PREFIX))
    if find_spec("ray") is None:
        raise NotInstalledError(
            "computing on a Ray cluster needs Ray, which is not installed here",
            "pip install 'unledger[ray]'",
            extra="ray",
        )
    return RayExecutor(address, needs)
