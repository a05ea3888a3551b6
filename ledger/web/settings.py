"""What whoever starts a server decides about it."""

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names under which a server that listens on this machine alone is reached."""


@dataclass(frozen=True)
class WebSettings:
    """Settings of one server process."""

    hosts: tuple[str, ...] = LOOPBACK
    """Names that the Host header may hold, without a port: a page of somebody else that lets its name point here is
    refused."""
    threads: int = 4
    """Requests that read or write the ledger at the same time; others wait."""
    waiting: int = 200
    """Requests that are worked on or wait for their turn, each in a thread of its own."""
    patience: float = 30.0
    """Seconds that a request waits for its turn, before it is asked to come again later."""
    most_bytes: int = 2**20
    """Largest body of a request."""
    most_bulk_bytes: int = 2**25
    """Largest body with a whole file of requests."""
    most_streams: int = 500
    """Event streams that are open at the same time."""
    poll: float = 1.0
    """Seconds between two looks at the audit log for new events, while somebody listens."""
    delivers: bool = True
    """Whether webhooks are sent from this process; several may do so at the same time."""
    recheck: float = 30.0
    """Seconds between two looks whether who listens to a stream still may."""
