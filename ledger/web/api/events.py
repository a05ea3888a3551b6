"""The stream of events."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse

from ledger.domain.access import Scope
from ledger.domain.numbers import LARGEST_WHOLE
from ledger.errors import AuthenticationError, ForbiddenError, LedgerError
from ledger.web.events import EventFeed
from ledger.web.security.scopes import ScopeCheck, requires_one_of

from .described import TEXT
from .values import PREFIX

router = APIRouter(prefix=PREFIX, tags=["events"])
SCOPES = (Scope.READ, Scope.AUDIT)
LISTENER = requires_one_of(*SCOPES)
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, each with the number, time and kind of an entry of the audit log, and what it is about",
        "content": {"text/event-stream": {"schema": TEXT}},
    }
}
Place = Annotated[
    int | None, Query(ge=0, le=LARGEST_WHOLE, description="As Last-Event-ID, for who cannot set headers.")
]
LastEvent = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID", ge=0, le=LARGEST_WHOLE, description="The last event that is known: begins with the next."
    ),
]


@router.get("/events", responses=STREAM, response_class=StreamingResponse, dependencies=[LISTENER])
async def stream_events(request: Request, after: Place = None, last_event_id: LastEvent = None) -> StreamingResponse:
    """Send what is appended to the audit log, as it comes."""
    feed: EventFeed = request.app.state.feed
    feed.require_room()
    check = ScopeCheck(SCOPES, every=False)

    async def still_admitted() -> bool:
        try:
            await check(request)
        except (AuthenticationError, ForbiddenError):
            return False
        except LedgerError:
            # The database is away; the next time will tell.
            return True
        return True

    place = await feed.place(after if last_event_id is None else last_event_id)
    # Proxies must not collect what is meant to arrive at once.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(feed.stream(place, still_admitted), headers=headers, media_type="text/event-stream")
