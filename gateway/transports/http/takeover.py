"""Responses that go on for long are taken over, as WebSockets are.

The endpoint returns, and all that a request costs is let go: scope, headers, a task and its coroutines.
A ``GET`` request's scope offers it in its extensions, under ``EXTENSION``. The endpoint sends the response's
start and a first part of its body, through all middleware, and then hands the rest over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from gateway.transports.http.requests import RequestSequence
from gateway.transports.sse.protocol import LeanEventBody
from gateway.transports.websocket.connection import WRITE_HIGH_BYTES

if TYPE_CHECKING:
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


class _Offer:
    """The extension's object: it doesn't keep the connection, whose requests' scopes hold it."""

    __slots__ = ("connection",)

    def __init__(self, connection: LastingResponses) -> None:
        self.connection: LastingResponses | None = connection

    def take_over_response(self, handler: BodyHandler) -> EventBody | None:
        """See ``ResponseTakeover``."""
        return None if self.connection is None else self.connection.take_over_response(handler)


class LastingResponses(RequestSequence):
    """A sequence of requests that ends with a response that was taken over, if one is."""

    _offer: _Offer | None = None

    def on_headers_complete(self) -> None:
        """A complete head."""
        if self.parser.get_method() == b"GET":
            if self._offer is None:
                self._offer = _Offer(self)
            self.scope["extensions"] = cast("Any", {EXTENSION: self._offer})
        super().on_headers_complete()

    def _forget(self) -> None:
        super()._forget()
        if self._offer is not None:
            self._offer.connection = None
            self._offer = None

    def take_over_response(self, handler: BodyHandler) -> EventBody | None:
        """See ``ResponseTakeover``."""
        cycle, transport = self.cycle, self.transport
        if (
            cycle.scope["http_version"] != "1.1"
            or not cycle.chunked_encoding
            or cycle.response_complete
            or cycle.disconnected
            or cycle.more_body
            or cycle is not self._running
            or transport.is_closing()
        ):
            return None
        # For uvicorn the application has answered, and may return.
        cycle.response_complete = True
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        context = self._context
        body = LeanEventBody(transport, handler, context=context, writable=not self.flow.write_paused)
        context.connections.discard(self)
        context.connections.add(body)
        self._let_go()
        transport.set_protocol(body)
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        return body

    def _let_go(self) -> None:
        """Another object has the connection: nothing may come of this one any more."""
        self._unset_keepalive_if_required()
        self._unread.end()
        self._forget()
