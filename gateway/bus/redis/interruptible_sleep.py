"""The wait between two attempts to connect, which good news ends early."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class InterruptibleSleep:
    """One waiter's sleep; when a neighbour has reached the same server, there is no reason to sleep on."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Sleep for ``seconds``, or until ``end``."""
        self._ended.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    def end(self) -> None:
        """Let the waiter go, if it sleeps."""
        self._ended.set()
