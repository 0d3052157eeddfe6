"""An HTTP connection becomes a WebSocket, or nothing else: its transport goes to another protocol object."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import httptools

from gateway.transports.http.takeover import LastingResponses
from gateway.transports.websocket.opening import WebSocketAdmission

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

    from gateway.transports.websocket.asgi_websocket import AsgiWebSocketProtocol
    from gateway.transports.websocket.handshake import Handshake


class BecomesWebSocket(LastingResponses):
    """The last that an HTTP connection does, once a valid handshake has been read."""

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

    def _become_websocket(self, handshake: Handshake, early: bytes) -> None:
        make = cast("type[AsgiWebSocketProtocol]", self.ws_protocol_class)
        self.connections.discard(self)
        self.flow.resume_reading()
        if (
            self.config.ws_per_message_deflate
            and make.allow_deflate
            and b"permessage-deflate" in handshake.extensions
        ):
            self._negotiate(make, early)
        else:
            self._admit(make, handshake, early)
        self._unread.end()
        self._forget()

    def _negotiate(self, make: type[AsgiWebSocketProtocol], early: bytes) -> None:
        protocol = make(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        if self.flow.write_paused:
            protocol.pause_writing()
        protocol.upgrade(self.url, self.headers, early)

    def _admit(self, make: type[AsgiWebSocketProtocol], handshake: Handshake, early: bytes) -> None:
        config, state, app_state = self.config, self.server_state, self.app_state
        admission = WebSocketAdmission(
            self.transport,
            handshake.key,
            make_full=lambda: make(config, state, app_state),
            policy=make.policy,
            context=self._context,
            state=state,
            writable=not self.flow.write_paused,
        )
        scope = self._websocket_scope(handshake)
        scope["extensions"] |= make.offered(admission)
        admission.begin(cast("ASGIApp", self.app), scope, early)

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
