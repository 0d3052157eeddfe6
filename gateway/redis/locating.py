"""Knowing which Redis server has what, for ever: servers fail over, and a cluster's slots move."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import RedisUnavailable

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from gateway.redis.servers import Address, Servers
    from gateway.supervision import Supervision

_LOCATE_SECONDS = 5.0
_LOCATE_PAUSE = 0.1


async def keep_located(
    servers: Servers,
    keys: Sequence[bytes],
    arrange: Callable[[Mapping[Address, list[int]], asyncio.TaskGroup], None],
    *,
    relocating: asyncio.Event,
    log: logging.Logger,
    supervision: Supervision,
    name: str,
) -> None:
    """Ask which server has which of ``keys``, when told that they have moved and now and then, for ever.

    Args:
        servers: are asked.
        keys: or channels.
        arrange: called with each answer, as ``Servers.locate`` gives it, and with the group that owns the
            tasks of all servers; these must not fail.
        relocating: set by whoever has a reason to ask again at once; else they are asked now and then.
        log: is told, once per outage, that no server could be asked or none has some of the keys.
        supervision: keeps the asking going; what it brought before goes on while that fails.
        name: of the asking as a task.
    """
    outage = _Outage(log)

    async def ask() -> None:
        while True:
            # Before asking: a reason that comes up meanwhile is one to ask once more.
            relocating.clear()
            try:
                located = await servers.locate(keys)
            except RedisUnavailable as exc:
                outage.note(f"Redis can't be found: {exc}")
            else:
                arrange(located, tasks)
                homeless = len(keys) - sum(map(len, located.values()))
                outage.note(
                    f"no Redis server has {homeless} of {len(keys)} keys or channels" if homeless else None
                )
            # At most ten times a second, however many connections fail.
            await asyncio.sleep(_LOCATE_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOCATE_SECONDS):
                    await relocating.wait()

    async with asyncio.TaskGroup() as tasks:
        watch = partial(servers.watch, relocating.set)
        tasks.create_task(supervision.until_done("sentinels", watch))
        await supervision.keep(name, ask)


class _Outage:
    """Tells the log that something is missing, once, and that it is there again."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lasts = False

    def note(self, problem: str | None) -> None:
        """Take note of the present state; None: nothing is missing."""
        if problem is not None and not self._lasts:
            self._log.warning("%s", problem)
        elif problem is None and self._lasts:
            self._log.info("Redis is found again")
        self._lasts = problem is not None
