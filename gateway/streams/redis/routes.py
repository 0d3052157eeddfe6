"""Which server has which log, and the connections to all of them."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.core.timing.backoff import Backoff
from gateway.redis.keeping import keep_all
from gateway.redis.locating import keep_located
from gateway.redis.round_trips import AnswerTimeout
from gateway.redis.wire import CommandRefused
from gateway.streams.redis.link import CallLink
from gateway.streams.redis.listening import AppendListener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.redis.servers import Address, Servers
    from gateway.redis.wire import Wire
    from gateway.streams.limits import RedisStoreLimits
    from gateway.streams.redis.log import RedisLog
    from gateway.supervision import Supervision

_log = logging.getLogger("gateway.streams")


@dataclass(frozen=True, slots=True)
class _Links:
    """One server's connections, and the task that keeps them."""

    appending: CallLink
    reading: CallLink
    listening: AppendListener
    task: asyncio.Task[None]


class LogRoutes:
    """Keeps every log connected to the server that has it."""

    def __init__(
        self, servers: Servers, logs: Sequence[RedisLog], limits: RedisStoreLimits, supervision: Supervision
    ) -> None:
        self._supervision = supervision
        self._servers = servers
        self._logs = logs
        self._limits = limits
        self._backoff = Backoff(first_seconds=0.05, limit_seconds=limits.backoff, random=random.random)
        self._links: dict[Address, _Links] = {}
        self._relocating = asyncio.Event()
        self._policies: dict[Address, str] = {}

    @property
    def evicting(self) -> str | None:
        """A server's ``maxmemory-policy`` by which it may throw streams away; None where all is well."""
        return next((each for each in self._policies.values() if each.startswith("allkeys-")), None)

    async def run(self) -> None:
        """Connect, and look again when a server may have changed its part."""
        keys = [log.keys.log for log in self._logs]
        await keep_located(
            self._servers,
            keys,
            self._arrange,
            relocating=self._relocating,
            log=_log,
            supervision=self._supervision,
            name="store",
        )

    def close(self) -> None:
        """Forget all servers, once ``run`` has ended; readers that wait find out."""
        self._links.clear()
        for log in self._logs:
            log.route(None, None, None)

    def _arrange(self, located: Mapping[Address, list[int]], tasks: asyncio.TaskGroup) -> None:
        for address, numbers in located.items():
            if address not in self._links:
                self._links[address] = self._open(address, tasks)
            links = self._links[address]
            for number in numbers:
                self._logs[number].route(links.appending, links.reading, links.listening)
        for address in self._links.keys() - located.keys():
            links = self._links.pop(address)
            self._policies.pop(address, None)
            for log in self._logs:
                if log.appending is links.appending:
                    log.route(None, None, None)
            # After the routes: a call that is handed back asks its log where to go.
            links.appending.retire()
            links.reading.retire()
            links.task.cancel()

    def _open(self, address: Address, tasks: asyncio.TaskGroup) -> _Links:
        appending = self._call_link(address, appending=True)
        reading = self._call_link(address, appending=False)
        listening = AppendListener(
            self._servers,
            address,
            beat_seconds=self._limits.beat,
            silence_seconds=self._limits.silence,
            backoff=self._backoff,
            relocate=self._relocating.set,
        )
        running = keep_all(
            self._supervision,
            store_appending=appending.run,
            store_reading=reading.run,
            store_listening=listening.run,
        )
        return _Links(appending, reading, listening, tasks.create_task(running))

    def _call_link(self, address: Address, *, appending: bool) -> CallLink:
        limits = self._limits
        return CallLink(
            self._servers,
            address,
            purpose="appending to" if appending else "reading",
            timeout=limits.timeout,
            beat_seconds=limits.beat,
            backoff=self._backoff,
            relocate=self._relocating.set,
            greet=partial(self._check_policy, address) if appending else None,
            replicas=limits.replicas if appending else 0,
            supervision=self._supervision,
        )

    async def _check_policy(self, address: Address, wire: Wire) -> None:
        """Warn of a Redis that may throw streams away when its memory is full."""
        try:
            async with AnswerTimeout(self._limits.timeout):
                await wire.send([("INFO", "memory")])
                info = bytes(await wire.receive())
        except CommandRefused:
            return  # this login may not ask
        fields = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
        policy = self._policies[address] = fields.get(b"maxmemory_policy", b"").decode()
        if policy.startswith("allkeys-"):
            _log.warning(
                "Redis may throw streams away when its memory is full: its maxmemory-policy is %s, "
                "streams need noeviction",
                policy,
            )
