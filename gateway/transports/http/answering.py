"""A connection that answers known requests by itself, in the callback that brings them.

Such an answer needs no scope, no task and no messages. It is given only where nothing else is under way: no
request before it is unanswered, nothing of the connection waits to be parsed or to be taken, the connection
is kept. In every other case the request goes the general way, which is the same to its client.

What has to be waited for is a cycle like any other, except that no application runs for it: what comes behind
it waits as it does behind every response, and so do a drain and a late head.
"""

from __future__ import annotations

from asyncio import CancelledError
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gateway.transports.http.cycle import HttpCycle
from gateway.transports.http.protocol import GatewayHttpProtocol
from gateway.transports.http.request_rules import RequestRefused

if TYPE_CHECKING:
    from asyncio import Future

    from gateway.transports.http.known_requests import AwaitedReply, KnownRequests

_METHOD: Final = b"POST "  # of all that can be known


class AwaitedCycle(HttpCycle):
    """A known request whose answer is waited for."""

    def write(self, answer: bytes) -> None:
        """Write it, and end."""
        if not self.keep_alive:
            head, _, body = answer.partition(b"\r\n\r\n")
            answer = head + b"\r\nconnection: close\r\n\r\n" + body
        self.transport.write(answer)
        self._complete()


class AnsweringHttpProtocol(GatewayHttpProtocol):
    """One connection of a server that knows requests."""

    known: ClassVar[KnownRequests]

    def data_received(self, data: bytes) -> None:
        """Answer, or feed the parser."""
        if self._refused or not data.startswith(_METHOD):
            super().data_received(data)
            return
        if not self._serving:
            self._expect_requests()
        if self._ahead or not self._at_rest():
            super().data_received(data)
        elif not self._answer_known(data):
            self._read_and_note(data)

    def _at_rest(self) -> bool:
        """Whether a request that begins now may be answered now: nothing comes before it."""
        cycle = self.cycle
        return (
            # Behind an answer that came ahead of its request's whole body the rest of that follows.
            (cycle is None or (cycle.response_complete and not cycle.more_body))
            and not self._reader.in_head
            and self._shut_out is None
            and not self._context.draining
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _answer_known(self, data: bytes) -> bool:
        try:
            answer = self.known.answer(data, self.server_state.default_headers)
        except Exception as error:  # noqa: BLE001 - the request may have had its effect: it is not tried again
            self._context.log.defect("a request can't be answered", error)
            self._quiet.stop(self)
            self._refuse(RequestRefused(HTTPStatus.INTERNAL_SERVER_ERROR))
            return True
        if answer is None:
            return False
        self._heads.stop(self)
        if isinstance(answer, bytes):
            self.transport.write(answer)
            self.server_state.total_requests += 1
            self._quiet.start(self, self._close)
        else:
            self._await_reply(answer)
        return True

    def _await_reply(self, awaited: AwaitedReply) -> None:
        self._quiet.stop(self)
        cycle = AwaitedCycle.of(self, keep_alive=True)
        cycle.more_body = False
        self.cycle = self._running = cycle
        awaited.done.add_done_callback(partial(self._reply, cycle, awaited))

    def _reply(self, cycle: AwaitedCycle, awaited: AwaitedReply, _done: Future[Any]) -> None:
        try:
            reply = awaited.make()
        except (Exception, CancelledError) as error:  # noqa: BLE001 - nobody else would answer
            self._context.log.defect("a request can't be answered", error)
            if not cycle.disconnected:
                cycle.response_complete = True
                self._refuse(RequestRefused(HTTPStatus.INTERNAL_SERVER_ERROR))
            return
        if not cycle.disconnected:
            cycle.write(self.known.whole(reply, self.server_state.default_headers))

    def _read_and_note(self, data: bytes) -> None:
        earlier = self.cycle
        super().data_received(data)
        cycle = self.cycle
        if cycle is None or cycle is earlier or cycle.more_body:
            return
        if not (self._refused or self.pipeline or self._ahead or self._reader.in_head):
            self.known.note(data, self._reader, bytes(cycle.body))
