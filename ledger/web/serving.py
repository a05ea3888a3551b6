"""Run the server: a socket, the application, a worker beside it, and an end that waits for nobody for ever."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ledger.errors import UsageError

from .worker_process import WorkerProcess

GRACE = 5
"""Seconds that answers in progress have to end, once the server was told to stop."""
BACKLOG = 512


@dataclass(frozen=True)
class Listening:
    """Where a server listens."""

    host: str
    port: int
    socket: socket.socket

    @property
    def url(self) -> str:
        """Its address, for a browser on the same machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def listen(host: str, port: int) -> Listening:
    """Take a port.

    Args:
        host: Address of this machine, or a name of it.
        port: 0 takes any that is free.

    Raises:
        UsageError: The port is taken, or the address is none of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        taken = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # Connections inherit it. An answer goes out in two pieces; the second would wait until the client has said that
        # it got the first, which clients put off for 40 ms.
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {host}, port {port}: {error}", "stop what listens there, or choose another --port"
        ) from error
    return Listening(host, int(taken.getsockname()[1]), taken)


class GracefulServer(uvicorn.Server):
    """Tells event streams to end before it waits for answers to end: a stream never does by itself."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it so
        """Stop at the first signal, and at once at the second."""
        # Not raised again afterwards, as uvicorn's own does: being told to stop is no failure.
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams, then all else."""
        await self._app.state.feed.close()
        await super().shutdown(sockets)


def run_server(app: FastAPI, listening: Listening, *, proxies: str | None, worker: WorkerProcess | None) -> None:
    """Serve until a signal says stop.

    Args:
        app: What answers.
        listening: Where.
        proxies: Addresses of proxies whose word is believed about who asks and how, with commas between; None for no
            proxy.
        worker: The worker to keep beside the server.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=proxies is not None,
        forwarded_allow_ips=proxies or "",
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=2**16,
    )
    server = GracefulServer(config, app)
    if worker is not None:
        worker.start()
    try:
        asyncio.run(_serve(server, listening, worker))
    finally:
        if worker is not None:
            worker.stop()


async def _serve(server: GracefulServer, listening: Listening, worker: WorkerProcess | None) -> None:
    watching = None if worker is None else asyncio.create_task(worker.watch())
    await server.serve([listening.socket])
    if watching is not None:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
