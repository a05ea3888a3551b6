"""Answer only under the names that this server is known by: a name of somebody else may point here, too."""

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from ledger.web.problems import plain_problem, problem_response

from .raw_headers import header


class TrustedHosts:
    """Refuses requests under other names.

    Args:
        app: What answers the others.
        hosts: The names, without ports; ``*`` takes all, ``*.example.org`` all below that one.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = tuple(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or self._knows(_without_port(header(scope, b"host").lower())):
            await self._app(scope, receive, send)
            return
        body = plain_problem(421, "this server does not answer under that name", "start it with --trusted-host NAME")
        await problem_response(body)(scope, receive, send)

    def _knows(self, host: str) -> bool:
        try:
            # With a star, anything would do, also what no address can hold.
            urlsplit(f"//{host}")
        except ValueError:
            return False
        return any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in self._hosts)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
