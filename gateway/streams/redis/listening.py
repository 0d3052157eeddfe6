"""The connection by which one server's appends are heard of: a wake-up, never more.

What is announced is read from the log all the same, so an announcement may be lost or come twice. While the
connection is interrupted, signals notify as it breaks and once it is there again, and readers look now and
then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.redis.channels import ChannelState, ChannelSubscription, PushConnection
from gateway.redis.keeping import keep_connected
from gateway.redis.wire import MESSAGES, SUBSCRIBED, UNSUBSCRIBED

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.timing.backoff import Backoff
    from gateway.redis.servers import Address, Servers
    from gateway.redis.wire import Command, Reply
    from gateway.streams.redis.append_signal import AppendSignal

LINGER_SECONDS = 30.0
"""How long a log is listened to after the last reader that waited for it: readers come back."""

_log = logging.getLogger("gateway.streams")


class _Announcements:
    """One log's channel, and whom to wake up."""

    __slots__ = ("signal", "subscription", "wanted")

    def __init__(self, channel: bytes, signal: AppendSignal) -> None:
        self.signal = signal
        self.subscription = ChannelSubscription(channel)
        self.wanted = True


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
        self._sharded = servers.sharded
        self._channels: dict[bytes, _Announcements] = {}
        self._wanting = asyncio.Event()
        self.connections = 0

    def announces(self, channel: bytes, signal: AppendSignal) -> bool:
        """Whether what is announced on ``channel`` gets to ``signal``; if not, that is asked for."""
        announcements = self._channels.get(channel)
        if announcements is None:
            announcements = self._channels[channel] = _Announcements(channel, signal)
            self._wanting.set()
        elif not announcements.wanted:
            announcements.wanted = True
            self._wanting.set()
        return announcements.subscription.subscribed

    def release(self, channel: bytes) -> None:
        """``channel`` is another server's from now on."""
        announcements = self._channels.get(channel)
        if announcements is not None:
            announcements.wanted = False
            self._wanting.set()

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
            connection = PushConnection(
                wire,
                self,
                changed=self._wanting,
                beat_seconds=self._beat_seconds,
                silence_seconds=self._silence_seconds,
            )
            await connection.serve()
        finally:
            interrupted = [each for each in self._channels.values() if each.subscription.subscribed]
            for announcements in self._channels.values():
                announcements.subscription.lost()
            await wire.close()
            # Last: a reader that wakes up asks at once whether appends are announced, and they are not.
            for announcements in interrupted:
                announcements.signal.notify()

    # What the connection asks, and tells

    def changes(self, now: float) -> list[Command]:
        """What is to be asked for, and what no reader has waited for in a while."""
        commands: list[Command] = []
        for channel, announcements in list(self._channels.items()):
            subscription, signal = announcements.subscription, announcements.signal
            if subscription.subscribed and not signal.waiting and now - signal.left > LINGER_SECONDS:
                announcements.wanted = False
            if announcements.wanted:
                if subscription.state is ChannelState.UNSUBSCRIBED:
                    commands.append(subscription.subscribe(sharded=self._sharded))
            elif subscription.state is not ChannelState.UNSUBSCRIBED:
                commands.append(subscription.unsubscribe(sharded=self._sharded))
            elif subscription.idle:
                # Not before its end is confirmed: that would be taken for one that the server made by itself.
                del self._channels[channel]
        return commands

    def check(self) -> None:
        """Nothing: what is not announced is read all the same, a little later."""

    def push(self, push: Reply) -> None:
        """Wake readers up."""
        kind, channel = push[0], push[1]
        announcements = self._channels.get(channel)
        if announcements is None or not announcements.wanted:
            if announcements is not None and kind in UNSUBSCRIBED:
                announcements.subscription.ended()
        elif kind in MESSAGES:
            _announce(announcements.signal, push[2])
        elif kind in SUBSCRIBED:
            announcements.subscription.confirmed()
            # What was appended before was announced to nobody here.
            announcements.signal.notify()
        elif kind in UNSUBSCRIBED and announcements.subscription.ended():
            announcements.subscription.lost()
            announcements.signal.notify()
            self._relocate()

    def moved(self) -> None:
        """Ask with the next heartbeat for all that isn't confirmed: which channel was meant isn't said."""
        for announcements in self._channels.values():
            announcements.subscription.moved()
        self._relocate()


def _announce(signal: AppendSignal, content: bytes) -> None:
    epoch, _, last = content.partition(b" ")
    try:
        signal.note_announcement(epoch.decode(), int(last))
    except ValueError:
        # Whoever can publish here can say anything; the log itself is looked at all the same.
        signal.notify()
