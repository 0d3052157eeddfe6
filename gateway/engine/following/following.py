"""How a node follows streams: tails, readers behind them, and where subscriptions begin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.core.catchup.readers import HistoryReader
from gateway.core.catchup.start import StartPosition, from_bounds, from_newest, from_snapshot, resume_at
from gateway.core.fanout.parked import CatchUp
from gateway.core.messages.commands import START_NEW, START_SNAPSHOT, Position, Start, StartKind
from gateway.core.messages.events import Event, Gap, Subscribed
from gateway.core.streams.pages import PURGED
from gateway.core.streams.stream import position_in_window
from gateway.engine.following.catching_up import CatchingUp
from gateway.engine.following.newest import before_newest
from gateway.engine.following.tailing import Tails
from gateway.supervision import Background

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.cluster.control import ForgetStream
    from gateway.core.cluster.stream_agreement import StreamAgreement
    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.commands import Subscribe
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.stream import FollowedStream, StreamMap
    from gateway.engine.delivery import DeliveryService
    from gateway.streams.base import Readable
    from gateway.supervision import Supervision


_TOLD_AT_ONCE: Final = 256
"""Connections told of a purge before other work gets its turn."""


class Following:
    """All that reads streams for this node's subscriptions.

    Attributes:
        tails: one per stream that somebody follows.
        catching_up: those who are behind.
        background: the parent of their tasks.
    """

    def __init__(
        self,
        streams: StreamMap,
        store: Readable,
        hub: Hub,
        delivery: DeliveryService,
        *,
        reads: int = 16,
        window_messages: int = 4096,
        window_bytes: int = 4 * 1024 * 1024,
        supervision: Supervision | None = None,
        agreement: StreamAgreement | None = None,
    ) -> None:
        """Read what ``streams`` names out of ``store``.

        Args:
            streams: those there are.
            store: keeps their logs; started before ``run``.
            hub: has the subscriptions.
            delivery: writes.
            reads: pages read from the store at once for those who are behind.
            window_messages: publications per stream that slightly late readers get without the store.
            window_bytes: about how large they are together at most.
            supervision: keeps the tasks running.
            agreement: whether all nodes capture the same topics; None on a node by itself.
        """
        self._store = store
        self._hub = hub
        self._delivery = delivery
        self.background = Background(supervision)
        self.catching_up = CatchingUp(
            store, hub, delivery, self.background, reads=reads, note_bounds=self._note_bounds
        )
        self.tails = Tails(
            streams,
            store,
            hub,
            delivery,
            self.background,
            begin=self.catching_up.begin,
            agreement=agreement,
            window_messages=window_messages,
            window_bytes=window_bytes,
        )

    def forget(self, purged: ForgetStream) -> None:
        """Hold nothing of a stream that was read before now: something of it was removed on purpose.

        Whose views may show it is told so.
        """
        followed = self.tails.get(purged.stream)
        if followed is None:
            return
        if followed.window is not None:
            followed.window.forget()
        self.catching_up.forget(followed)
        if purged.filter:
            followed.note_purge(purged.filter, purged.end)
            self.background.start(self._tell_views, followed, purged.filter)

    async def run(self) -> None:
        """Tail and read for ever; no subscription may come before."""
        await self.background.run()

    def nearby(
        self, command: Subscribe, streams: tuple[FollowedStream, ...]
    ) -> dict[FollowedStream, StartPosition] | None:
        """Where ``command`` begins in each stream, if no store needs to be asked; else None."""
        if not self.tails.follow(streams):
            return None
        found: dict[FollowedStream, StartPosition] = {}
        for stream in streams:
            position = position_in_window(command.filter, stream, _asked(command, stream))
            if position is None:
                return None
            found[stream] = StartPosition(position)
        return found

    async def beginnings(
        self, command: Subscribe, streams: tuple[FollowedStream, ...]
    ) -> dict[FollowedStream, StartPosition]:
        """Where ``command`` begins in each stream; without those where it begins with what is new.

        Raises:
            StreamUnavailable: a stream can't be read now.
            TooMany: the newest of each topic are asked for, and the filter matches too many topics.
        """
        await self.tails.started(streams)
        return {
            stream: await self._beginning(command, stream)
            for stream in streams
            if _needs_store(command, stream)
        }

    def confirm(
        self, outbox: Outbox, command: Subscribe, beginnings: Mapping[FollowedStream, StartPosition]
    ) -> list[Event]:
        """Have a subscription begin, in one step with the answer.

        The caller sends the answer before anything else happens.

        Args:
            outbox: holds a subscription with the filter, which may be an earlier one.
            command: what was asked.
            beginnings: as ``nearby`` or ``beginnings`` found them.

        Returns:
            The answer, without its reference; ``caught_up`` follows once it has its history.
        """
        history = asks_history(command)
        subscription = outbox.subscriptions[command.filter]
        streams, earlier = subscription.streams, subscription if subscription.live else None
        if not subscription.waiting:
            self._hub.subscribe(outbox, command.filter, command.overflow, streams, live=not history)
            subscription = outbox.subscriptions[command.filter]
        elif not history:
            self._hub.join(outbox, subscription)
        if not history:
            begun_live = self._hub.begin_live(outbox, subscription, earlier)
            positions = {stream.name: position for stream, position in begun_live.items()}
            return [Subscribed(command.filter, positions, ref=command.ref)]
        subscription.views = command.start == START_SNAPSHOT
        begun = {
            stream: beginnings.get(stream) or StartPosition(_tail_position(stream)) for stream in streams
        }
        recovered = self._recovered(command, begun)
        snapshots = []
        if command.start == START_SNAPSHOT and not recovered:
            # All of it anew: what is left of an earlier snapshot could not be told from what has gone.
            snapshots = [stream for stream in begun if stream.last_values]
            begun |= {stream: from_snapshot(command.filter, stream, begun[stream]) for stream in snapshots}
        starts = {stream: each.position for stream, each in begun.items()}
        phases = {stream: each.phase for stream, each in begun.items() if each.phase is not None}
        reader = HistoryReader(outbox.encoder, command.filter, starts, phases, snapshots)
        self._hub.read(outbox, subscription, reader)
        self.catching_up.begin(CatchUp(outbox, reader))
        positions = {stream.name: each.position for stream, each in begun.items()}
        gaps = [each.gap for each in begun.values() if each.gap is not None]
        return [Subscribed(command.filter, positions, recovered, ref=command.ref), *gaps]

    def send(self, outbox: Outbox, events: list[Event]) -> None:
        """Send an answer that was awaited."""
        for event in events:
            self._delivery.send(outbox, event)

    async def _beginning(self, command: Subscribe, stream: FollowedStream) -> StartPosition:
        asked = _asked(command, stream)
        found = position_in_window(command.filter, stream, asked)
        if found is not None:
            return StartPosition(found)
        if isinstance(asked, Start) and asked.kind is StartKind.LAST_PER_TOPIC:
            page = await self._store.newest_by_topic(
                stream.name, command.filter, asked.value, 0, None, messages=1
            )
            self._note_bounds(stream, page.bounds)
            return from_newest(command.filter, asked.value, page)
        bounds = await self.tails.bounds(stream)
        if isinstance(asked, Position):
            if asked.epoch != bounds.epoch or asked.offset > bounds.last:
                # The answer may have been on its way before the client got there, by another node.
                bounds = await self.tails.bounds(stream)
            return resume_at(command.filter, stream, asked, bounds)
        before = None
        if asked.kind is StartKind.TIME:
            before = await self._store.before(stream.name, asked.value)
        elif asked.kind is StartKind.LAST:
            before = await before_newest(self._store, stream.name, command.filter, asked.value, bounds)
        return from_bounds(command.filter, stream, asked, bounds, before)

    async def _tell_views(self, stream: FollowedStream, topic_filter: str) -> None:
        for number, (outbox, subscription) in enumerate(self._hub.views(stream, topic_filter), start=1):
            if not outbox.closed and outbox.subscriptions.get(subscription.filter) is subscription:
                # Once: who is told asks for another one, and who doesn't read is not told without end.
                subscription.views = False
                self._delivery.send(outbox, Gap(PURGED, subscription.filter, stream=stream.name))
            if number % _TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _recovered(self, command: Subscribe, begun: Mapping[FollowedStream, StartPosition]) -> bool | None:
        if not command.resume:
            return None
        found = all(each.recovered for each in begun.values())
        return (
            found
            and names_all(command, tuple(begun))
            and not any(_leaves_out(command, stream) or _shows_purged(command, stream) for stream in begun)
        )

    def _note_bounds(self, stream: FollowedStream, bounds: Bounds) -> None:
        self.tails.note_bounds(stream, bounds)


def asks_history(command: Subscribe) -> bool:
    """Whether ``command`` wants anything from before it."""
    return bool(command.resume) or command.start != START_NEW


def names_all(command: Subscribe, streams: tuple[FollowedStream, ...]) -> bool:
    """Whether every stream that ``resume`` names is one of ``streams``, those that the filter may match.

    Where one isn't, it is gone, or captures something else than when the client got its position: what it
    keeps for this filter is not given.
    """
    return {stream.name for stream in streams}.issuperset(command.resume or ())


def _leaves_out(command: Subscribe, stream: FollowedStream) -> bool:
    """Whether a client that comes back misses what a stream holds of which it has no position.

    It had one of every stream that its filter met. This one has come since, or captures now what it didn't.
    """
    if stream.name in (command.resume or ()):
        return False
    if command.start != START_NEW:
        return stream.last_values and command.start == START_SNAPSHOT
    return stream.tail.first <= stream.tail.last


def _shows_purged(command: Subscribe, stream: FollowedStream) -> bool:
    """Whether a view that comes back may hold what was purged while it was away."""
    had = (command.resume or {}).get(stream.name)
    return (
        had is not None
        and command.start == START_SNAPSHOT
        and stream.purged_since(command.filter, had.offset)
    )


def _asked(command: Subscribe, stream: FollowedStream) -> Position | Start:
    resumed = (command.resume or {}).get(stream.name)
    return command.start if resumed is None else resumed


def _needs_store(command: Subscribe, stream: FollowedStream) -> bool:
    # A snapshot is as of where the tail is when it begins.
    return _asked(command, stream) not in {START_NEW, START_SNAPSHOT}


def _tail_position(stream: FollowedStream) -> Position:
    return Position(stream.tail.epoch, stream.tail.last)
