"""An HTTP connection becomes a WebSocket, or nothing else: its transport goes to another protocol object."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast
from urllib.parse import unquote

import httptools

from gateway.transports.http.takeover import LastingResponses
from gateway.transports.websocket.opening import WebSocketOpening
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    from gateway.transports.websocket.handshake import Handshake


class BecomesWebSocket(LastingResponses):
    """The last that an HTTP connection does, once a valid handshake has been read."""

    offer: ClassVar[TakeoverOffer] = TakeoverOffer()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Serve a request that asks for another protocol as if it didn't.

        RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field". The parser can't: it takes all
        that is behind the head, the request's body too, for the other protocol. So another one reads the
        request again, without that field.
        """
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
        head += [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn has it: what comes behind a request that ends the connection is no error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _offers_takeover(self) -> bool:
        return self.offer.is_for(self.url)

    def _become_websocket(self, handshake: Handshake, early: bytes) -> None:
        self.flow.resume_reading()
        if self._offers_takeover():
            self._open_websocket(handshake, early)
        else:
            self._delegate()
        self._unread.end()
        self._forget()

    def _delegate(self) -> None:
        """Uvicorn's own way: nothing of what is done for connections that are taken over."""
        self.handle_websocket_upgrade()
        if self.flow.write_paused:
            # It is told of changes only, and would write on into a full buffer.
            cast("WebSocketsSansIOProtocol", self.transport.get_protocol()).pause_writing()

    def _open_websocket(self, handshake: Handshake, early: bytes) -> None:
        self.connections.discard(self)
        opening = WebSocketOpening(
            self.transport,
            handshake.key,
            policy=self.offer.policy,
            context=self._context,
            state=self.server_state,
            writable=not self.flow.write_paused,
        )
        opening.begin(cast("ASGIApp", self.app), self._websocket_scope(handshake), early)

    def _websocket_scope(self, handshake: Handshake) -> Scope:
        raw_path, _, query = self.url.partition(b"?")
        return {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if self.scheme == "https" else "ws",
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + unquote(raw_path.decode("ascii")),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": self.headers,
            "subprotocols": handshake.subprotocols,
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
