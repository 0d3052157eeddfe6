"""One HTTP/1.1 connection under uvicorn: one request after another, bounded, until it is something else.

Uvicorn's class makes the scopes and the tasks; what is used of it stands in
``tests/integration/test_uvicorn_protocols.py``. This class keeps the order of requests and the time that each
may take. The parts, each with a file of its own:

- ``request_reader`` makes requests of bytes, within bounds and rules; ``read_ahead`` holds what comes early;
- ``cycle`` is a request and its response, ``unread_responses`` what of it nobody takes;
- ``connection`` is what is before, between and after requests; ``connection_room`` decides whether there is
  room for it at all;
- ``takeover`` and ``websocket_start`` give its transport away.

Waits for a head, a body and another request are in shared queues, instead of a timer for each.
Nothing is left to the garbage collector: who is lost lets go of all that refers to one another.
Uvicorn takes it as ``Config(http=GatewayHttpProtocol)``; ``configuration.http_protocol`` has other bounds.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, cast

from uvicorn.protocols.utils import get_local_addr

from gateway.transports.http.connection import LINGER_SECONDS, HttpConnection
from gateway.transports.http.cycle import HttpCycle, application_now
from gateway.transports.http.read_ahead import MOST_WAITING, TURN_BYTES, ReadAhead, end_of_piece, has_one_head
from gateway.transports.http.request_reader import RequestReader
from gateway.transports.http.request_rules import RequestRefused
from gateway.transports.http.scopes import complete_scope
from gateway.transports.http.takeover import EXTENSION, ReleasedTransport, ResponseOffer
from gateway.transports.http.websocket_start import (
    delegate_websocket,
    open_known_websocket,
    open_websocket,
)
from gateway.transports.server.server_context import Wait, half_close
from gateway.transports.websocket.handshake import answered
from gateway.transports.websocket.known_handshakes import ReadHandshake
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


class GatewayHttpProtocol(HttpConnection):
    """One connection, until it ends, becomes a WebSocket, or its response is taken over."""

    offer: ClassVar[TakeoverOffer] = TakeoverOffer()
    cycle: HttpCycle = None  # type: ignore[assignment]  # before the first
    _first = b""  # the connection's first read, while that is parsed
    _running: HttpCycle | None = None  # whose application runs; `cycle` is the one read last
    _offer: ResponseOffer | None = None

    def _expect_requests(self) -> None:
        super()._expect_requests()
        self._reader = RequestReader(
            self.limits, self, offer=self.offer, delegates=self.ws_protocol_class is not None
        )
        self._ahead = ReadAhead()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes or goes."""
        # The class below tells the cycle that was read last, which may not have begun.
        running = self._running
        super().connection_lost(exc)
        if running is not None:
            running.disconnect()

    def end_after_response(self) -> None:
        """The server drains: answer the request that is under way, and keep the connection for no other."""
        if not self._idle():
            self.cycle.keep_alive = False

    def _forget(self) -> None:
        super()._forget()
        if not self._serving:
            return
        self.pipeline.clear()
        self._ahead.take()
        self._running = None
        if self._offer is not None:
            self._offer.connection = None
            self._offer = None
        self._reader.discard()
        self.scope = self.headers = self.cycle = None  # type: ignore[assignment]

    # Reading

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within bounds."""
        if self._refused:
            return
        if not self._serving:
            if self._shut_out is None and open_known_websocket(
                self, data, offer=self.offer, context=self._context, limits=self.limits
            ):
                self._forget()
                return
            self._expect_requests()
            self._first = data
        self._quiet.stop(self)
        if self._ahead:
            self._ahead.add(data)
            if self._ahead.is_full and not self.flow.resting:
                self.flow.wait()
        else:
            self._feed(data)
        self._first = b""

    def _feed(self, data: bytes, at: int = 0) -> None:
        """Parse what is behind ``at``, no further than requests may wait, nor than a turn goes."""
        if at == 0 and len(data) <= TURN_BYTES and not self.pipeline and has_one_head(data):
            if not self._ending() and self._parse(data, 0, len(data)):
                self._wait_for_more()
            return
        most = at + TURN_BYTES
        while at < len(data) and not self._ending():
            enough = len(self.pipeline) >= MOST_WAITING
            if enough or at >= most:
                self._ahead.hold(data, at)
                if not enough:
                    self.flow.rest()
                    self.loop.call_soon(self._next_turn)
                elif self._ahead.is_full:
                    self.flow.wait()
                return
            end = end_of_piece(data, at, most)
            if not self._parse(data, at, end):
                return
            at = end
        self._wait_for_more()

    def _next_turn(self) -> None:
        """Parse more of a read, as if it came only now."""
        self.flow.end_rest()
        data, at = self._ahead.take()
        if data and not self._refused and not self.transport.is_closing():
            self._quiet.stop(self)
            self._feed(data, at)

    def _parse(self, data: bytes, at: int, end: int) -> bool:
        """Hand a piece of ``data`` to the parser; False: nothing may follow."""
        end_of_http = self._reader.feed(data[at:end], idle=self._idle())
        if end_of_http is None:
            return True
        if isinstance(end_of_http, RequestRefused):
            self._refuse(end_of_http)
        else:
            self._upgrade(end_of_http + data[end:])
        return False

    def _wait_for_more(self) -> None:
        """A whole read has been parsed: what is to follow has a limited time."""
        if (self._reader.in_head or self._idle()) and self not in self._heads:
            # Not left to the parser: it takes empty lines before a request for no request at all.
            self._heads.start(self, self._head_late)
        elif self._awaits_body():
            self._bodies.start(self, self._body_late)

    def _ending(self) -> bool:
        """Whether the last request that was read ends the connection: what is sent behind it is nobody's."""
        cycle = self.cycle
        return cycle is not None and not cycle.keep_alive and not cycle.more_body

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _awaits_body(self) -> bool:
        return not self._idle() and self.cycle.more_body

    # Requests, in their order

    def begin_request(self, head: RequestReader) -> None:
        """See ``request_reader.RequestConsumer``, here and below."""
        self._heads.stop(self)
        if self._shut_out is not None:
            self.room.check_served(head.target, self._shut_out, leaves=head.handshake is not None)
        if self.server is None and not head.asks_door:
            self.server = get_local_addr(self.transport)
        super().on_message_begin()
        self.url, self.headers = head.target, head.fields
        scope = self.scope
        scope["headers"] = head.fields
        if head.asks_for_upgrade:
            return  # `feed` is about to say so
        complete_scope(scope, head.method, head.version, head.target)
        self.expect_100_continue = head.expects_continue
        if head.method == b"GET":
            self._offer = self._offer or ResponseOffer(self)
            scope["extensions"] = cast("Any", {EXTENSION: self._offer})
        keep_alive = (
            head.version != "1.0"
            and not self._context.draining
            and self._shut_out is None
            and head.should_keep_alive
        )
        app, idle = application_now(self, self._context.log), self._idle()
        cycle = self.cycle = HttpCycle.of(self, keep_alive=keep_alive)
        if idle:
            self._run(cycle, app)
        else:
            # It comes after the response that is under way. Uvicorn's order: the newest is on the left.
            self.pipeline.appendleft((cycle, app))

    def take_body(self, body: bytes) -> None:
        """A part of a body."""
        self.cycle.take_body(body)

    def end_request(self) -> None:
        """The whole request has come."""
        self._bodies.stop(self)
        self.cycle.end_request()

    def _run(self, cycle: HttpCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """A response's end: the next request that is here already, or a limited wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._unread.begin()
            return
        self._running = None
        if self.pipeline or self._ahead:
            self._serve_next()
        else:
            self.flow.resume_reading()
        if self._running is None:
            self._quiet.start(self, self._close)

    def _serve_next(self) -> None:
        """Answer the next request, parse what was held, and read more once there is room for it."""
        if self.pipeline:
            self._run(*cast("tuple[HttpCycle, ASGI3Application]", self.pipeline.pop()))
        if not self.flow.resting:
            data, at = self._ahead.take()
            self.flow.waiting = False
            if data:
                self._feed(data, at)
        if not self.transport.is_closing():
            self.flow.resume_reading()

    # Refusing

    def _head_late(self) -> None:
        if self.transport.is_closing() or self._refused:
            return
        if not self._idle():
            # The next request's head is late while this one's response runs: that ends the connection too.
            self.cycle.keep_alive = False
        elif self._serving and self._reader.in_head:
            self._refuse(RequestRefused(HTTPStatus.REQUEST_TIMEOUT))
        else:
            self._close()

    def _body_late(self) -> None:
        if self.transport.is_closing() or self._refused or not self._awaits_body():
            return
        if self.flow.read_paused or self.flow.resting:
            # It is the application that takes its time.
            self._bodies.start(self, self._body_late)
        else:
            self.room.count_late_body()
            self._refuse(RequestRefused(HTTPStatus.REQUEST_TIMEOUT))

    def _refuse(self, refused: RequestRefused) -> None:
        """End the connection, whatever the client goes on sending; answer where an answer fits."""
        self._refused = True
        self._heads.stop(self)
        self._bodies.stop(self)
        self._context.log.warning("HTTP request refused: %d %s", refused.status.value, refused)
        cycle = self.cycle
        if self._idle():
            self._answer(refused)
        elif self.pipeline or cycle.response_started:
            # Nothing may be written into a response, nor ahead of one that is due.
            self._close()
        elif cycle.more_body:
            # The fault is in the body of the request itself: its application waits for the rest.
            cycle.disconnect()
            self._answer(refused)
        else:
            cycle.keep_alive = False

    def _answer(self, refused: RequestRefused) -> None:
        fields = [*self.server_state.default_headers, *refused.fields]
        self.transport.write(answered(refused.status, fields, str(refused).encode()))
        half_close(self.transport)
        self._context.deadlines(Wait.GONE, LINGER_SECONDS).start(self, self.transport.abort)

    # Giving the transport away

    def release_response(self) -> ReleasedTransport | None:
        """See ``takeover.Responding``."""
        cycle, transport = self.cycle, self.transport
        if not cycle.may_be_taken_over or cycle is not self._running or self._ahead or transport.is_closing():
            return None
        # For uvicorn the application has answered, and may return: it would close the transport otherwise.
        cycle.response_complete = True
        self.server_state.total_requests += 1
        self.flow.resume_reading()  # only who reads notices that the client goes
        self.connections.discard(self)
        self._forget()
        return ReleasedTransport(transport, self._context, not self.flow.write_paused)

    def _upgrade(self, early: bytes) -> None:
        """A head asks for another protocol; ``early`` is what came behind it."""
        handshake = self._reader.handshake
        if handshake is None:
            self.data_received(self._reader.begin_again() + early)
        elif not self._idle():
            # A handshake behind a request that is still being answered: its 101 would cut into the response.
            self._refuse(RequestRefused(HTTPStatus.BAD_REQUEST))
        else:
            self.flow.resume_reading()
            if self.offer.is_for(self.url):
                read = ReadHandshake(self.url, self.headers, handshake)
                first, offer, context = self._first, self.offer, self._context
                open_websocket(self, read, early, first=first, offer=offer, context=context)
            else:
                delegate_websocket(self)
            self._forget()
