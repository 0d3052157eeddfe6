"""Which WebSockets may be taken over, and within which bounds.

It is decided by the path, before an application runs. A handshake for another path gets uvicorn's own class,
which parses it anew: applications that know nothing of the takeover (a user's own endpoint beside the
gateway's) find a plain ASGI server, with uvicorn's bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.transports.websocket.connection import WEBSOCKET_PATH
from gateway.transports.websocket.limits import ConnectionPolicy


@dataclass(frozen=True, slots=True)
class TakeoverOffer:
    """What a server offers to the endpoints behind it.

    Attributes:
        paths: of the endpoints that refuse a connection or take it over, and never keep it themselves. None
            where all do: whatever names no endpoint is then refused within our bounds too.
        policy: bounds of their connections.
    """

    paths: frozenset[bytes] | None = frozenset({WEBSOCKET_PATH.encode()})
    policy: ConnectionPolicy = field(default_factory=ConnectionPolicy)

    def is_for(self, target: bytes) -> bool:
        """Whether the endpoint of a request target, a path with its query, takes its connections over."""
        return self.paths is None or target.partition(b"?")[0] in self.paths
