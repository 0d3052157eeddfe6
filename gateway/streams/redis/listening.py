"""The connection by which one server's appends are heard of: a wake-up, never more.

What is announced is read from the log all the same, so an announcement may be lost or come twice. While the
connection is interrupted, signals notify as it breaks and once it is there again, and readers look now and
then.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import RedisUnavailable
from gateway.redis.keeping import keep_connected
from gateway.redis.wire import MESSAGES, SUBSCRIBED, UNSUBSCRIBED, CommandRefused, Moved

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.timing.backoff import Backoff
    from gateway.redis.servers import Address, Servers
    from gateway.redis.wire import Command, Reply, Wire
    from gateway.streams.redis.log import RedisLog

LINGER_SECONDS = 30.0
"""How long a log is listened to after the last reader that waited for it: readers come back."""

_log = logging.getLogger("gateway.streams")


class AppendListener:
    """A connection that is kept, subscribed to the channels of the logs that readers wait for.

    Attributes:
        connections: made so far.
    """

    def __init__(
        self,
        servers: Servers,
        address: Address,
        *,
        beat_seconds: float,
        silence_seconds: float,
        backoff: Backoff,
        relocate: Callable[[], None],
    ) -> None:
        self._servers = servers
        self._address = address
        self._beat_seconds = beat_seconds
        self._silence_seconds = silence_seconds
        self._backoff = backoff
        self._relocate = relocate
        self._prefix = "S" if servers.sharded else ""
        self._wanted: dict[bytes, RedisLog] = {}
        self._asked: set[bytes] = set()
        self._heard: set[bytes] = set()
        self._changed = asyncio.Event()
        self._heard_at = 0.0
        self.connections = 0

    def hears(self, log: RedisLog) -> bool:
        """Whether ``log``'s appends are announced here; if not, that is asked for."""
        channel = log.keys.channel
        if channel in self._heard:
            return True
        if channel not in self._wanted:
            self._wanted[channel] = log
            self._changed.set()
        return False

    def release(self, log: RedisLog) -> None:
        """``log`` is another server's from now on."""
        if self._wanted.pop(log.keys.channel, None) is not None:
            self._changed.set()

    async def run(self) -> None:
        """Keep the connection for ever."""
        await keep_connected(
            self._connected,
            self._backoff,
            relocate=self._relocate,
            log=_log,
            what="listening to streams in Redis",
        )

    async def _connected(self) -> None:
        wire = await self._servers.connect(self._address)
        try:
            self.connections += 1
            self._heard_at = asyncio.get_running_loop().time()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(wire))
                tasks.create_task(self._ask(wire))
        finally:
            self._asked.clear()
            heard, self._heard = self._heard, set()
            await wire.close()
            for channel in heard:
                self._notify(channel)

    async def _ask(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        beat_due = loop.time() + self._beat_seconds
        while True:
            self._changed.clear()
            commands = self._changes(loop.time())
            if loop.time() >= beat_due:
                if loop.time() - self._heard_at > self._silence_seconds:
                    raise RedisUnavailable(f"Redis said nothing for {self._silence_seconds:g} s")
                commands.append(("PING",))
                beat_due = loop.time() + self._beat_seconds
            if commands:
                await wire.send(commands)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(beat_due):
                    await self._changed.wait()

    def _changes(self, now: float) -> list[Command]:
        for channel, log in list(self._wanted.items()):
            if channel in self._heard and not log.signal.waiting and now - log.signal.left > LINGER_SECONDS:
                del self._wanted[channel]
        new, old = self._wanted.keys() - self._asked, self._asked - self._wanted.keys()
        self._asked = set(self._wanted)
        self._heard -= old
        return [
            *((f"{self._prefix}SUBSCRIBE", channel) for channel in new),
            *((f"{self._prefix}UNSUBSCRIBE", channel) for channel in old),
        ]

    async def _read(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                reply = await wire.receive()
            except Moved:
                # Which channel was meant isn't said: all that are not heard are asked for with the next beat.
                self._asked &= self._heard
                self._relocate()
                continue
            except CommandRefused as exc:
                raise RedisUnavailable(f"Redis refuses to be listened to: {exc}") from exc
            self._heard_at = loop.time()
            if type(reply) is list:
                self._take(reply)

    def _take(self, reply: Reply) -> None:
        kind, channel, *content = reply
        if kind in MESSAGES:
            if (log := self._wanted.get(channel)) is not None:
                self._announced(log, content[0])
        elif kind in SUBSCRIBED:
            if channel in self._wanted:
                self._heard.add(channel)
                self._notify(channel)
        elif kind in UNSUBSCRIBED and channel in self._wanted:
            # The server let it go by itself: the log is another one's now.
            self._asked.discard(channel)
            self._heard.discard(channel)
            self._notify(channel)
            self._relocate()

    def _announced(self, log: RedisLog, content: bytes) -> None:
        epoch, _, last = content.partition(b" ")
        try:
            log.signal.note_end(epoch.decode(), int(last))
        except ValueError:
            # Whoever can publish here can say anything; the log itself is looked at all the same.
            log.signal.notify()

    def _notify(self, channel: bytes) -> None:
        if (log := self._wanted.get(channel)) is not None:
            log.signal.notify()
