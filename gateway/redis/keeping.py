"""Connections to Redis that are kept for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.errors import Unavailable

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Coroutine

    from gateway.core.timing.backoff import Backoff
    from gateway.supervision import Supervision


async def keep_connected(
    connected: Callable[[], Awaitable[None]],
    backoff: Backoff,
    *,
    relocate: Callable[[], None],
    log: logging.Logger,
    what: str,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Connect again each time that the connection ends, for ever.

    Only the first of several failures in a row is logged, as a warning.

    Args:
        connected: connects, and serves the connection until it is lost; then it raises ``Unavailable``, or a
            group of them. Whatever else it raises ends the keeping, and is for who supervises it.
        backoff: counts the failures and says how long to wait.
        relocate: called after each end, before the wait: another server may have become the right one.
        log: where the interruption is told.
        what: is interrupted, "publishing to Redis" for instance.
        wait: sleeps for so many seconds before the next attempt.
    """
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        began = loop.time()
        try:
            await connected()
        except* Unavailable as group:
            # A connection that lived for a while ends a row of failures: the next one is the first again.
            failures = backoff.failures(failures, lived_seconds=loop.time() - began)
            if failures == 1:
                log.warning("%s is interrupted: %s", what, group.exceptions[0])
        # Also after the first failure: with a failover the server that is tried again may be the wrong one.
        relocate()
        await wait(backoff.wait(failures))


async def keep_all(supervision: Supervision, **keep: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Keep several connections at once, by the names of their tasks; one that fails begins again."""
    async with asyncio.TaskGroup() as tasks:
        for name, each in keep.items():
            tasks.create_task(supervision.keep(name, each))
