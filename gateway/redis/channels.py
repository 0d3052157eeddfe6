"""Channels that are listened to: what is wanted against what the server has confirmed, heartbeat and silence.

One task reads and does nothing else, so that pushes are never kept waiting by a write; another one writes
what brings the subscriptions up to what is wanted, and watches the time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, NoReturn, Protocol

from gateway.errors import RedisUnavailable
from gateway.redis.wire import CommandRefused, Moved

if TYPE_CHECKING:
    from gateway.redis.wire import Command, Reply, Wire


class ChannelState(Enum):
    """What is known of one channel on the present connection."""

    UNSUBSCRIBED = "unsubscribed"
    SUBSCRIBING = "subscribing"
    """The server was asked, and has not confirmed."""
    SUBSCRIBED = "subscribed"
    """Nothing that is published there is missed."""


class ChannelSubscription:
    """One channel's subscription, as far as the server has confirmed it.

    UNSUBSCRIBED --subscribe--> SUBSCRIBING --confirmed--> SUBSCRIBED
         ^  ^                       |                          |
         |  +----refused as moved---+                          |
         +--unsubscribe, ended by the server, connection lost--+
    """

    __slots__ = ("_unconfirmed_ends", "channel", "state")

    def __init__(self, channel: bytes) -> None:
        self.channel = channel
        self.state = ChannelState.UNSUBSCRIBED
        # A channel may be wanted again before its end is confirmed. Confirmations come in order, so counting
        # tells the end that was asked for from one that the server made by itself.
        self._unconfirmed_ends = 0

    @property
    def subscribed(self) -> bool:
        """Nothing that is published is missed."""
        return self.state is ChannelState.SUBSCRIBED

    @property
    def idle(self) -> bool:
        """Nothing was asked for, and nothing has yet to be confirmed."""
        return self.state is ChannelState.UNSUBSCRIBED and not self._unconfirmed_ends

    def subscribe(self, *, sharded: bool) -> Command:
        """The command that asks for it."""
        self.state = ChannelState.SUBSCRIBING
        return ("SSUBSCRIBE" if sharded else "SUBSCRIBE", self.channel)

    def unsubscribe(self, *, sharded: bool) -> Command:
        """The command that ends it; from now on it counts as ended."""
        self.state = ChannelState.UNSUBSCRIBED
        self._unconfirmed_ends += 1
        return ("SUNSUBSCRIBE" if sharded else "UNSUBSCRIBE", self.channel)

    def confirmed(self) -> bool:
        """The server tells of a subscription; returns whether it is the one that is waited for."""
        if self.state is not ChannelState.SUBSCRIBING:
            return False
        self.state = ChannelState.SUBSCRIBED
        return True

    def ended(self) -> bool:
        """The server tells of an end; returns whether it made that by itself: then the subscription is lost.

        It does so when the channel has become another server's.
        """
        if self._unconfirmed_ends:
            self._unconfirmed_ends -= 1
            return False
        return True

    def moved(self) -> None:
        """The server has refused some channel as another's: ask again for this one if it isn't confirmed."""
        if self.state is ChannelState.SUBSCRIBING:
            self.state = ChannelState.UNSUBSCRIBED

    def lost(self) -> None:
        """The connection or the channel is; nothing that was asked for will be confirmed any more."""
        self.state = ChannelState.UNSUBSCRIBED
        self._unconfirmed_ends = 0


class ChannelListener(Protocol):
    """Decides what is listened to, and takes what comes."""

    def changes(self, now: float) -> list[Command]:
        """The commands by which what is subscribed becomes what is wanted."""
        ...

    def check(self) -> None:
        """Called with each heartbeat; raises ``Unavailable`` where listening has a reason to begin again."""
        ...

    def push(self, push: Reply) -> None:
        """Take what the server sends: a list that begins with what it is, and the channel."""
        ...

    def moved(self) -> None:
        """A channel is another server's; which one isn't said."""
        ...


class PushConnection:
    """Serves one connection that listens, from its beginning to its end."""

    def __init__(
        self,
        wire: Wire,
        listener: ChannelListener,
        *,
        changed: asyncio.Event,
        beat_seconds: float,
        silence_seconds: float,
    ) -> None:
        """Take the parts; ``changed`` is set when something else is wanted than before."""
        self._wire = wire
        self._listener = listener
        self._changed = changed
        self._beat_seconds = beat_seconds
        self._silence_seconds = silence_seconds
        self._received_at = asyncio.get_running_loop().time()

    async def serve(self) -> None:
        """Listen until the connection is lost.

        Raises:
            ExceptionGroup: of ``Unavailable``: it is lost, silent, or refused.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._write())

    async def _write(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        beat_due = loop.time() + self._beat_seconds
        while True:
            # Before looking at what is wanted, so that a wish that comes during the write is not overlooked.
            self._changed.clear()
            commands = self._listener.changes(loop.time())
            if loop.time() >= beat_due:
                # A connection that hangs looks like a quiet one: only a reply that has to come, and does not,
                # tells them apart.
                if loop.time() - self._received_at > self._silence_seconds:
                    raise RedisUnavailable(f"Redis said nothing for {self._silence_seconds:g} s")
                self._listener.check()
                commands.append(("PING",))
                beat_due = loop.time() + self._beat_seconds
            if commands:
                await self._wire.send(commands)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(beat_due):
                    await self._changed.wait()

    async def _read(self) -> NoReturn:
        time = asyncio.get_running_loop().time
        receive, push = self._wire.receive, self._listener.push
        while True:
            try:
                reply = await receive()
            except Moved:
                self._listener.moved()
                continue
            except CommandRefused as exc:
                raise RedisUnavailable(f"Redis refuses to be listened to: {exc}") from exc
            self._received_at = time()
            # The answer to PING is a push too, but a plain word where nothing is subscribed to.
            if type(reply) is list:
                push(reply)
