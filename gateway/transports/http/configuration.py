"""The protocol class for one server: uvicorn makes the objects, so what they share belongs to their class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.transports.http.answering import AnsweringHttpProtocol
from gateway.transports.http.connection_room import ConnectionRoom
from gateway.transports.http.known_requests import KnownRequests
from gateway.transports.http.protocol import GatewayHttpProtocol
from gateway.transports.http.unread_responses import UnreadResponses
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    from typing import Any

    from gateway.transports.http.known_requests import RequestDoor
    from gateway.transports.http.request_bounds import RequestLimits
    from gateway.transports.server.open_files import OpenFiles


def http_protocol(
    limits: RequestLimits,
    files: OpenFiles | None = None,
    *,
    room: ConnectionRoom | None = None,
    unread: UnreadResponses | None = None,
    offer: TakeoverOffer | None = None,
    requests: RequestDoor | None = None,
) -> type[GatewayHttpProtocol]:
    """A class with these bounds, for ``uvicorn.Config(http=…)``; ``requests`` answers what it knows."""
    own: dict[str, Any] = {
        "limits": limits,
        "files": files,
        "room": room or ConnectionRoom(),
        "unread": unread or UnreadResponses(),
        "offer": offer or TakeoverOffer(),
    }
    if requests is not None:
        return type("BoundedHttpProtocol", (AnsweringHttpProtocol,), own | {"known": KnownRequests(requests)})
    return type("BoundedHttpProtocol", (GatewayHttpProtocol,), own)
