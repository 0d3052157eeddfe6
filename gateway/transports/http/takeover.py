"""Responses that go on for long are taken over, as WebSockets are.

The endpoint returns, and all that a request costs is let go: scope, headers, a task and its coroutines.
A ``GET`` request's scope offers it in its extensions, under ``EXTENSION``. The endpoint sends the response's
start and a first part of its body, through all middleware, and then hands the rest over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gateway.transports.sse.protocol import LeanEventBody
from gateway.transports.websocket.connection import WRITE_HIGH_BYTES

if TYPE_CHECKING:
    import asyncio

    from gateway.transports.server.server_context import ServerContext
    from gateway.transports.sse.sink import BodyHandler, EventBody

EXTENSION: Final = "gateway.response"


class ResponseTakeover(Protocol):
    """The extension's object."""

    def take_over_response(self, handler: BodyHandler) -> EventBody | None:
        """Let ``handler`` have the rest of the response, and return what it writes to.

        Call it once the head has been sent, and return from the endpoint.

        Returns:
            None where that can't be: the client has gone, has sent more, or speaks HTTP/1.0. The endpoint
            then keeps the response.
        """
        ...


class ReleasedTransport(NamedTuple):
    """A transport in the midst of a response.

    Attributes:
        transport: nobody else writes to it.
        context: of its server.
        writable: whether it takes more.
    """

    transport: asyncio.Transport
    context: ServerContext
    writable: bool


class Responding(Protocol):
    """A connection whose response may be taken over."""

    def release_response(self) -> ReleasedTransport | None:
        """Give the transport away, and the rest of the response with it; None where that can't be."""
        ...


class ResponseOffer:
    """The extension's object. It doesn't keep the connection, whose requests' scopes hold it.

    Attributes:
        connection: None once it has gone.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Responding) -> None:
        self.connection: Responding | None = connection

    def take_over_response(self, handler: BodyHandler) -> EventBody | None:
        """See ``ResponseTakeover``."""
        released = None if self.connection is None else self.connection.release_response()
        if released is None:
            return None
        transport, context, writable = released
        body = LeanEventBody(transport, handler, context=context, writable=writable)
        context.connections.add(body)
        transport.set_protocol(body)
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        return body
