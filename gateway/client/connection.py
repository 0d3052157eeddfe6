"""One WebSocket connection: commands out, replies matched, everything else handed on in order."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

import anyio
from websockets.exceptions import ConnectionClosed

from gateway.client import ending
from gateway.client.errors import ConnectionLost
from gateway.client.incoming import Incoming, decode_frame
from gateway.client.replies import Answer, Replies
from gateway.codecs.gateway_v1_client import encode_command
from gateway.core.messages.events import Failure, GoAway
from gateway.core.session.close_codes import CloseCode
from gateway.errors import GatewayError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.client import ClientConnection

    from gateway.client.ending import Ending
    from gateway.client.read_gate import ReadGate
    from gateway.core.messages.commands import Command
    from gateway.core.messages.events import Event, Welcome

log = logging.getLogger(__name__)

MakeCommand: TypeAlias = "Callable[[int], Command]"

BEAT_SECONDS = 5.0
"""How often a client that does not read says that it lives: the gateway's pings are behind the unread."""

GOODBYE_SECONDS = 1.0
"""How long the other side has to take a close frame."""

ANSWER_SECONDS = 2.0
"""How long replies are waited for after a ``goaway``: by then a gateway that drains has answered."""


class GatewayConnection:
    """An open connection after its ``welcome``; ``read`` owns the receiving side.

    Attributes:
        welcome: the gateway's first frame.
        replies: the commands that wait for an answer.
        ended: set when it is used no longer.
        expires: when the token that it was made with ends, in seconds since 1970, where that is known.
    """

    def __init__(
        self, socket: ClientConnection, welcome: Welcome, valve: ReadGate, *, expires: float | None = None
    ) -> None:
        self.welcome = welcome
        self.expires = expires
        self.replies = Replies(valve)
        self.ended = anyio.Event()
        self._socket = socket
        self._valve = valve
        self._heard = True
        self._dismissal: Ending | None = None
        self._last_words = ""

    async def send(self, command: Command) -> None:
        """Write one command; commands leave in the order of the calls.

        Raises:
            TooLarge: the frame is larger than the gateway said it takes; nothing was sent.
            ConnectionLost: the connection has ended.
        """
        frame = encode_command(command)
        # A larger frame would cost the connection (1009), and everything that waits on it.
        limit = self.welcome.limits.get("frame_bytes")
        if limit is not None and len(frame) * 4 > limit and len(frame.encode()) > limit:
            raise TooLarge(f"the command takes more than {limit} bytes as a frame")
        try:
            await self._socket.send(frame)
        except ConnectionClosed as closed:
            raise ConnectionLost("the connection ended") from closed

    async def request(self, make_command: MakeCommand) -> Event:
        """Send the command made for a fresh ``ref`` and wait for its reply.

        Raises:
            GatewayError: the gateway's refusal, or ``ConnectionLost``.
        """
        answered = anyio.Event()
        answers: list[Answer] = []

        def settle(answer: Answer) -> None:
            answers.append(answer)
            answered.set()

        ref = self.replies.expect(settle)
        try:
            await self.send(make_command(ref))
            await answered.wait()
        finally:
            self.replies.forget(ref)
        if isinstance(answers[0], GatewayError):
            raise answers[0]
        return answers[0]

    async def read(self, receive: Callable[[Incoming | Event], None]) -> Ending:
        """Hand every frame that answers no command to ``receive``, until the connection ends; say how it did.

        Nothing is read while the valve is shut. ``receive`` must not wait.
        """
        try:
            with anyio.CancelScope() as scope:
                while self._dismissal is None or len(self.replies):
                    await self._valve.passage()
                    frame = await self._socket.recv(decode=False)
                    self._heard = True
                    self._take(frame, receive, scope)
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (CloseCode.BROKEN, "")
            end = ending.closed(code, self._last_words or reason)
        else:
            end = self._dismissal or ending.closed(CloseCode.BROKEN, "")
        self.replies.fail(end.error)
        return end

    async def keep_alive(self, interval: float, timeout: float) -> None:  # noqa: ASYNC109 - the peer's
        """Break the connection after ``interval`` seconds of silence and then no pong within ``timeout``."""
        tick = min(interval, BEAT_SECONDS)
        quiet = 0.0
        while True:
            await anyio.sleep(tick)
            quiet = 0.0 if self._heard or not self._valve.is_open else quiet + tick
            self._heard = False
            standing = True
            with anyio.move_on_after(timeout) as scope:
                standing = await self._beat(due=quiet >= interval)
            if not standing:
                return
            if scope.cancelled_caught and self._valve.is_open and not self._heard:
                log.warning("gateway not heard for %.1f s: connection given up", quiet + timeout)
                self._socket.transport.abort()
                return

    async def close(self) -> None:
        """Close in good order; takes ``GOODBYE_SECONDS`` and a moment at most, also when cancelled."""
        # The library bounds the wait for the peer's close frame, not the one for room to write our own.
        with anyio.move_on_after(2 * GOODBYE_SECONDS, shield=True) as scope:
            await self._socket.close()
        if scope.cancelled_caught:
            self._socket.transport.abort()

    async def _beat(self, *, due: bool) -> bool:
        try:
            if not self._valve.is_open:
                # RFC 6455, 5.5.3: an unsolicited pong "serves as a unidirectional heartbeat".
                await self._socket.pong()
            elif due:
                await (await self._socket.ping())
                self._heard = True
        except ConnectionClosed:
            return False  # The reader sees it too, and says how it ended.
        return True

    def _take(
        self, frame: bytes, receive: Callable[[Incoming | Event], None], scope: anyio.CancelScope
    ) -> None:
        event = decode_frame(frame)
        if event is None or (not isinstance(event, Incoming) and self.replies.settle(event)):
            return
        if isinstance(event, GoAway):
            self._dismissal = ending.drained(event.reason, event.retry_after)
            scope.deadline = anyio.current_time() + ANSWER_SECONDS
        elif isinstance(event, Failure) and event.fatal:
            self._last_words = event.reason
        receive(event)
