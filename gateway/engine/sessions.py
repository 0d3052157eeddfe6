"""All client sessions of this node: how many there may be, when each is looked at, how they end together."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel

from gateway.core.messages.events import GoAway
from gateway.core.session.close_codes import CloseCode
from gateway.core.timing.timer_wheel import TimerWheel
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.cluster.info import ConnectionDetails, ConnectionInfo
    from gateway.engine.metrics.refusals import Refusals
    from gateway.errors import GatewayError

_RETRY_MILLISECONDS = (1000, 2000)
"""When clients of a node that drains may come back at the earliest; many are spread over a longer time."""

_LONGEST_SPREAD_MILLISECONDS = 5000

_ANSWER_SECONDS = 2.0
"""By then every publish has its answer; sessions that still wait for one are closed all the same."""

_SLICE = 200
"""Sessions looked at, or sent away, before other work gets its turn: some 2 ms of system calls."""

_log = logging.getLogger("gateway.sessions")


class ClientSession(Protocol):
    """What the node does to a session of any transport."""

    @property
    def id(self) -> str:
        """The session's name."""
        ...

    @property
    def subject(self) -> str | None:
        """Whom it speaks for; None while it is anonymous."""
        ...

    def facts(self) -> ConnectionInfo:
        """What administrators see of it."""
        ...

    def details(self) -> ConnectionDetails:
        """What administrators see of it when they look closer."""
        ...

    def expel(self, code: CloseCode, error: GatewayError) -> None:
        """Tell the client ``error`` and close."""
        ...

    def check(self, now: float) -> float:
        """Do what time demands (keepalive, deadlines); return when to be asked again."""
        ...

    def send_away(self, farewell: GoAway, code: CloseCode, reason: str) -> None:
        """Tell the client that the node goes, take nothing new, close when what is under way is answered.

        Called again, it closes without waiting any longer.
        """
        ...

    def abort(self) -> None:
        """End at once, without a word."""
        ...


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Counts since the start, and ``open`` now.

    Attributes:
        open: sessions now.
        requests: of these, HTTP requests that last; they count among plain connections, not here.
        opened: sessions so far.
        refused: connections refused for lack of room or while draining.
    """

    open: int
    requests: int
    opened: int
    refused: int

    @property
    def connections(self) -> int:
        """Sessions that have taken a connection over: WebSockets and event streams."""
        return self.open - self.requests


class Sessions:
    """The register of sessions.

    Attributes:
        open: the sessions by name; changed by this class alone.
        draining: the node takes no new session.
    """

    def __init__(self, *, limit: int, clock: Callable[[], float], refusals: Refusals) -> None:
        self._limit = limit
        self._clock = clock
        self._refusals = refusals
        self.open: dict[str, ClientSession] = {}
        self._requests: set[str] = set()
        self._slots: dict[str, int] = {}
        self._wheel: TimerWheel[ClientSession] = TimerWheel(now=clock())
        self._opened = self._refused = 0
        self.draining = False

    @property
    def connections(self) -> int:
        """How many have taken a connection over: WebSockets and event streams."""
        return len(self.open) - len(self._requests)

    def check_room(self) -> None:
        """Raise ``Unavailable`` unless one more session may begin."""
        if self.draining or self.connections >= self._limit:
            self._refused += 1
            if not self.draining:
                self._refusals.count("connections")
            raise Unavailable("the node drains" if self.draining else "the node has no room for a connection")

    def attach(self, session: ClientSession, *, check_at: float, request: bool = False) -> None:
        """Take ``session`` in, to be checked at ``check_at`` (monotonic seconds).

        A ``request`` takes no room here: its connection stays one of HTTP, which have a limit of their own.
        """
        if request:
            self._requests.add(session.id)
        self._opened += 1
        self.open[session.id] = session
        self._slots[session.id] = self._wheel.schedule(session, check_at)

    def check_by(self, session: ClientSession, at: float) -> None:
        """Check ``session`` at ``at`` already, if that is earlier than planned; monotonic seconds."""
        slot = self._slots.get(session.id)
        if slot is not None and at < slot:
            self._wheel.cancel(session, slot)
            self._slots[session.id] = self._wheel.schedule(session, at)

    def detach(self, session: ClientSession) -> None:
        """Let ``session`` go; idempotent."""
        if self.open.pop(session.id, None) is not None:
            self._requests.discard(session.id)
            self._wheel.cancel(session, self._slots.pop(session.id))

    async def check_due(self) -> None:
        """Look at every session that is due, a slice per turn of the event loop.

        Those that were connected within one second are pinged within one second, too.
        """
        now = self._clock()
        for number, session in enumerate(self._wheel.turn(now), start=1):
            # It may have ended while others had their turn.
            if session.id in self.open:
                try:
                    again = session.check(now)
                except Exception:  # noqa: BLE001 - logged; it must not keep the others from their turn
                    # Those behind it are due as well, and nobody else would look at them again.
                    _log.exception("a session can't be checked, and is ended")
                    session.abort()
                    continue
                if session.id in self.open:
                    self._slots[session.id] = self._wheel.schedule(session, again)
            if number % _SLICE == 0:
                await anyio.lowlevel.checkpoint()
                now = self._clock()

    async def drain(self, seconds: float) -> None:
        """Send every session away, and abort those that are still there after ``seconds``.

        Clients are told to come back at different times, so that they don't all reach another node at once,
        and none so early that it would meet this one again.
        """
        self.draining = True
        with anyio.move_on_after(seconds):
            await self._send_all_away()
            with anyio.move_on_after(_ANSWER_SECONDS):
                await self._all_gone()
            # The second time they close without waiting for answers that no longer come.
            await self._send_all_away()
            await self._all_gone()
        for session in list(self.open.values()):
            session.abort()

    def retry_after(self) -> int:
        """When a client of a node that drains should come back, in milliseconds: each at another time."""
        least, most = _RETRY_MILLISECONDS
        most = max(most, least + min(len(self.open), _LONGEST_SPREAD_MILLISECONDS))
        return random.randint(least, most)  # noqa: S311 - jitter is no secret

    async def _send_all_away(self) -> None:
        for number, session in enumerate(list(self.open.values()), start=1):
            farewell = GoAway("draining", self.retry_after())
            session.send_away(farewell, CloseCode.GOING_AWAY, CloseCode.GOING_AWAY.reason)
            if number % _SLICE == 0:
                await anyio.lowlevel.checkpoint()

    async def _all_gone(self) -> None:
        while self.open:  # noqa: ASYNC110 - bounded by the caller; an event would cost every detach
            await anyio.sleep(0.02)

    def statistics(self) -> SessionStatistics:
        """A snapshot for metrics, health and tests."""
        return SessionStatistics(len(self.open), len(self._requests), self._opened, self._refused)
