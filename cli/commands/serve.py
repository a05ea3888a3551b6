"""``unledger serve``: pages and an API for people and programs elsewhere."""

from typing import Annotated

import typer

from ledger import installation
from ledger.errors import UsageError

from ..render import advise, say
from ..session import session
from ..worker_log import log_to_stderr

DEFAULT_PORT = 8470
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on; this machine alone if not said.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = DEFAULT_PORT,
    worker: Annotated[
        bool | None,
        typer.Option("--worker/--no-worker", help="Keep a worker beside the server. The default on SQLite."),
    ] = None,
    trusted_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that the server is reached by; repeatable, *.NAME takes all below."),
    ] = None,
    proxy_headers: Annotated[
        bool, typer.Option("--proxy-headers", help="Believe a reverse proxy about who asks, and whether by https.")
    ] = False,
    proxy_from: Annotated[
        str, typer.Option(metavar="ADDRESSES", help="With --proxy-headers: where that proxy is, with commas between.")
    ] = "127.0.0.1",
    link: Annotated[bool, typer.Option(help="Print a link that logs one browser in, once.")] = True,
) -> None:
    """Serve pages and an API over HTTP."""
    installation.require("server", "serving")
    if host not in LOCAL and not trusted_host:
        raise UsageError(
            f"on {host} the server is reached under names that it does not know",
            "say which it answers to: --trusted-host NAME, with a proxy that speaks https before it",
        )
    from ledger.service.access.sessions import create_login_link
    from ledger.web.app import create_app
    from ledger.web.serving import listen, run_server
    from ledger.web.settings import LOOPBACK, WebSettings
    from ledger.web.worker_process import WorkerProcess, by_default, can_compute

    who = session(ctx)
    with who.ledger(acts=True) as ledger:
        config = ledger.config
        listening = listen(host, port)
        secret = create_login_link(ledger) if link else None
    beside = by_default(config) if worker is None else worker
    if beside and not can_compute():
        if worker:
            raise UsageError("a worker needs torch, which is not installed", "pip install 'unledger[engine]'")
        advise("warning:", "no worker runs beside the server: torch is not installed here", "yellow")
        beside = False
    app = create_app(config, WebSettings(hosts=(*LOOPBACK, *(trusted_host or ()))))
    child = WorkerProcess(config.root, who.who, who.device) if beside else None
    say(f"serving {config.root} on {listening.url}" + (", with a worker" if child else ""))
    if secret is not None:
        say("log in, once, with:")
        print(f"{listening.url}/login?link={secret}", flush=True)  # noqa: T201 - the answer goes to stdout
    with log_to_stderr(before=lambda: None):
        run_server(app, listening, proxies=proxy_from if proxy_headers else None, worker=child)
    say("stopped")
