"""What a node does by the clock, once a second, for all its sessions together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from gateway.core.session.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.fanout.hub import Hub
    from gateway.engine.runtime.garbage import GarbageCollection
    from gateway.engine.sessions import Sessions


class Upkeep:
    """Looks after sessions that are due, connections that take nothing, and Python's garbage.

    Attributes:
        lag: seconds by which the event loop was late at the last turn.
        garbage: set where the process is the gateway's own.
        alive: set where somebody has to know that the event loop turns.
    """

    def __init__(
        self,
        sessions: Sessions,
        hub: Hub,
        *,
        write_timeout: float,
        stalled_timeout: float,
        clock: Callable[[], float],
    ) -> None:
        """Look after ``sessions`` and ``hub``.

        Args:
            sessions: to be checked when they are due.
            hub: knows the connections that take nothing.
            write_timeout: seconds that one may take nothing.
            stalled_timeout: the same where streams hold all that it waits for; at least ``write_timeout``.
            clock: monotonic seconds.
        """
        self._sessions = sessions
        self._hub = hub
        self._write_timeout = write_timeout
        self._stalled_timeout = stalled_timeout
        self._clock = clock
        self.lag = 0.0
        self.garbage: GarbageCollection | None = None
        self.alive: Callable[[], None] | None = None

    async def run(self) -> None:
        """Turn for ever."""
        while True:
            if self.alive is not None:
                self.alive()
            # By the event loop's own clock, which nobody moves.
            due = anyio.current_time() + 1
            await anyio.sleep(1)
            self.lag = max(0.0, anyio.current_time() - due)
            await self.turn()

    async def turn(self) -> None:
        """Do what is due by now."""
        now = self._clock()
        await self._sessions.check_due()
        self.close_stuck(now)
        if self.garbage is not None:
            self.garbage.turn(now)

    def close_stuck(self, now: float) -> None:
        """Close the connections that have taken nothing for too long.

        Spec: docs/protocol.md, "Overflow".
        """
        for outbox in self._hub.blocked_before(now - self._write_timeout):
            since = outbox.blocked_since
            stalled = since is not None and since < now - self._stalled_timeout
            if stalled or not self._hub.release(outbox):
                outbox.sink.close(CloseCode.SLOW_CONSUMER, CloseCode.SLOW_CONSUMER.reason)
