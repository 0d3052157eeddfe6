"""The protocol class for one server: uvicorn makes the objects, so what they share belongs to their class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.transports.http.connection_room import ConnectionRoom
from gateway.transports.http.protocol import GatewayHttpProtocol
from gateway.transports.http.unread_responses import UnreadResponses
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    from gateway.transports.http.request_bounds import RequestLimits
    from gateway.transports.server.open_files import OpenFiles


def http_protocol(
    limits: RequestLimits,
    files: OpenFiles | None = None,
    *,
    room: ConnectionRoom | None = None,
    unread: UnreadResponses | None = None,
    offer: TakeoverOffer | None = None,
) -> type[GatewayHttpProtocol]:
    """A class with these bounds, for ``uvicorn.Config(http=…)``."""
    own = {
        "limits": limits,
        "files": files,
        "room": room or ConnectionRoom(),
        "unread": unread or UnreadResponses(),
        "offer": offer or TakeoverOffer(),
    }
    return type("BoundedHttpProtocol", (GatewayHttpProtocol,), own)
