"""Send one message: one connection, to the address that was checked, without following where it might be sent on to."""

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from ledger import __version__

from .addresses import Endpoint

TIMEOUT = 10.0
"""Seconds that an attempt may take, and each step of it."""


@dataclass(frozen=True)
class Answer:
    """What became of an attempt."""

    status: int | None
    """What was answered, as HTTP numbers it; None where nothing answered."""
    detail: str
    """The same for people."""

    @property
    def arrived(self) -> bool:
        """Whether the receiver has the message."""
        return self.status is not None and http.client.OK <= self.status < http.client.MULTIPLE_CHOICES

    @property
    def is_final(self) -> bool:
        """Whether the receiver asks for no further attempt."""
        return self.status == http.client.GONE


def post(to: Endpoint, headers: Mapping[str, str], body: bytes, *, timeout: float = TIMEOUT) -> Answer:
    """Send a message, and return what became of it; what fails is an answer too."""
    connection = _Encrypted(to, timeout) if to.encrypted else _Pinned(to, timeout)
    # A receiver that answers a letter at a time would keep each step within its time, and us for ever.
    end = threading.Timer(timeout, connection.cut)
    end.daemon = True
    end.start()
    try:
        connection.request("POST", to.path, body, {"user-agent": f"unledger/{__version__}", **headers})
        # Only the first line of the answer counts.
        status = connection.getresponse().status
        return Answer(status, f"answered {status}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(None, f"not delivered: {_reason(error)}")
    finally:
        end.cancel()
        connection.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever its name means by now."""

    def __init__(self, to: Endpoint, timeout: float) -> None:
        super().__init__(to.host, to.port, timeout=timeout)
        self._to = to

    def connect(self) -> None:
        """Connect to that address."""
        self.sock = socket.create_connection((self._to.address, self._to.port), self.timeout)

    def cut(self) -> None:
        """End the connection from another thread."""
        with suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)


class _Encrypted(_Pinned):
    """The same, to a receiver whose certificate is for the name."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        """Connect to that address, and check the certificate."""
        super().connect()
        self.sock = _context().wrap_socket(self.sock, server_hostname=self._to.host)


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
