"""Commands that go out together and get one reply each, in order, within a time.

One task writes and reads: while a round trip is under way, what comes next is gathered for the one after.
That is what makes batches, without a delay of their own: the slower the server, the larger they are.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from gateway.errors import RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from gateway.redis.wire import Wire


class AnswerTimeout:
    """Bounds what waits for replies; raises ``RedisUnavailable`` when its time is up.

    Replies carry no number: once one was not waited for, the next would be taken for it. So a time limit
    costs the connection, which is why it is told as one that is lost.
    """

    # A class and no generator: entered once per round trip, it costs a third of what that would add.
    __slots__ = ("_timeout",)

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise RedisUnavailable("Redis does not answer") from None


async def serve_round_trips(
    wire: Wire,
    work: asyncio.Event,
    *,
    waiting: Callable[[], object],
    beat_seconds: float,
    round_trip: Callable[[bool], Awaitable[bool]],
) -> NoReturn:
    """Make round trips while ``wire`` lasts: as soon as something waits, and now and then without.

    Args:
        wire: ends this by its errors.
        work: set by whoever has something to send.
        waiting: whether there is something.
        beat_seconds: how often the server has to show that it is there.
        round_trip: sends what waits, given whether a heartbeat is due; returns whether the server has shown
            that it is there, from when on the next one counts.
    """
    loop = asyncio.get_running_loop()
    beat_due = loop.time() + beat_seconds
    # Nobody reads between round trips, so nobody would notice the end of the connection before the next one.
    wire.when_lost(work.set)
    while True:
        if not waiting():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(beat_due):
                    await work.wait()
        # Cleared before anything is taken: what is added from here on sets it again, and is not overlooked.
        work.clear()
        # And the connection is looked at before: what was given to one known to be lost would be in doubt.
        wire.check()
        if await round_trip(loop.time() >= beat_due):
            beat_due = loop.time() + beat_seconds
