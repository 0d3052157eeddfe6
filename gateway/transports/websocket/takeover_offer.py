"""Which WebSockets may be taken over, and within which bounds.

It is decided by the path, before an application runs. A handshake for another path gets uvicorn's own class,
which parses it anew: applications that know nothing of the takeover (a user's own endpoint beside the
gateway's) find a plain ASGI server, with uvicorn's bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.transports.websocket.connection import WEBSOCKET_PATH, Takeover
from gateway.transports.websocket.known_handshakes import KnownHandshakes
from gateway.transports.websocket.limits import ConnectionPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import Scope


class OpenHandshake(Takeover, Protocol):
    """A handshake that waits for its answer: one of the two, once; a takeover follows ``accept`` at once."""

    def accept(self, subprotocol: str | None) -> None:
        """Let the client in.

        Raises:
            OSError: it has gone.
        """
        ...

    def refuse(self, answer: Response) -> None:
        """Send the client away; nothing happens if it has gone."""
        ...


class DirectDoor(Protocol):
    """Answers the handshakes for one path by itself, without the application around its endpoint."""

    @property
    def path(self) -> bytes:
        """Which, as it stands in the request."""
        ...

    def answer(self, scope: Scope, handshake: OpenHandshake) -> Callable[[], Awaitable[None]] | None:
        """Answer ``handshake``, now or, where something is returned, by calling and awaiting that."""
        ...


@dataclass(frozen=True, slots=True)
class TakeoverOffer:
    """What a server offers to the endpoints behind it.

    Attributes:
        paths: of the endpoints that refuse a connection or take it over, and never keep it themselves. None
            where all do: whatever names no endpoint is then refused within our bounds too.
        policy: bounds of their connections.
        door: asked ahead of the application.
        known: heads of the handshakes that it was asked about.
    """

    paths: frozenset[bytes] | None = frozenset({WEBSOCKET_PATH.encode()})
    policy: ConnectionPolicy = field(default_factory=ConnectionPolicy)
    door: DirectDoor | None = None
    known: KnownHandshakes = field(default_factory=KnownHandshakes, compare=False)

    def is_for(self, target: bytes) -> bool:
        """Whether the endpoint of a request target, a path with its query, takes its connections over."""
        return self.paths is None or target.partition(b"?")[0] in self.paths

    def door_of(self, target: bytes) -> DirectDoor | None:
        """Who answers handshakes for a request target by itself; None: the application does."""
        door = self.door
        return door if door is not None and target.partition(b"?")[0] == door.path else None
