"""How a node follows streams: tails, readers behind them, and where subscriptions begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.catchup.readers import HistoryReader
from gateway.core.catchup.start import StartPosition, nearby, resume_at, start_at
from gateway.core.fanout.spill import begin_live
from gateway.core.messages.commands import START_NEW, Position, Start, StartKind
from gateway.core.messages.events import Event, Subscribed
from gateway.engine.following.catching_up import CatchingUp
from gateway.engine.following.tailing import Tails
from gateway.engine.runtime.background import Background

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.commands import Subscribe
    from gateway.core.streams.configuration import Bounds, StreamMap
    from gateway.core.streams.stream import FollowedStream
    from gateway.engine.delivery import DeliveryService
    from gateway.streams.base import Readable
    from gateway.supervision import Supervision


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
            window_messages=window_messages,
            window_bytes=window_bytes,
        )

    async def run(self) -> None:
        """Tail and read for ever; no subscription may come before."""
        await self.background.run()

    def nearby(
        self, command: Subscribe, paths: tuple[FollowedStream, ...]
    ) -> dict[FollowedStream, StartPosition] | None:
        """Where ``command`` begins in each stream, if no store needs to be asked; else None.

        Raises:
            StreamUnavailable: a stream can't be read now.
        """
        if not self.tails.follow(paths):
            return None
        found: dict[FollowedStream, StartPosition] = {}
        for path in paths:
            beginning = nearby(path, _asked(command, path))
            if beginning is None:
                return None
            found[path] = beginning
        return found

    async def beginnings(
        self, command: Subscribe, paths: tuple[FollowedStream, ...]
    ) -> dict[FollowedStream, StartPosition]:
        """Where ``command`` begins in each stream; without those where it begins with what is new.

        Raises:
            StreamUnavailable: a stream can't be read now.
        """
        await self.tails.started(paths)
        return {path: await self._beginning(command, path) for path in paths if _needs_store(command, path)}

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
        paths, earlier = subscription.paths, subscription if subscription.live else None
        if earlier is not None or subscription.reader is not None:
            self._hub.subscribe(outbox, command.filter, command.overflow, paths, live=not history)
            subscription = outbox.subscriptions[command.filter]
        elif not history:
            self._hub.join(outbox, subscription)
        if not history:
            begun_live = begin_live(outbox, subscription, earlier)
            positions = {path.stream: position for path, position in begun_live.items()}
            return [Subscribed(command.filter, positions, ref=command.ref)]
        begun = {path: beginnings.get(path) or StartPosition(_tail_position(path)) for path in paths}
        reader = HistoryReader(outbox, subscription, {path: each.position for path, each in begun.items()})
        self._hub.read(reader)
        self.catching_up.begin(reader)
        positions = {path.stream: each.position for path, each in begun.items()}
        recovered = self._recovered(command, begun)
        gaps = [each.gap for each in begun.values() if each.gap is not None]
        return [Subscribed(command.filter, positions, recovered, ref=command.ref), *gaps]

    def send(self, outbox: Outbox, events: list[Event]) -> None:
        """Send an answer that was awaited."""
        for event in events:
            self._delivery.send(outbox, event)

    async def _beginning(self, command: Subscribe, path: FollowedStream) -> StartPosition:
        asked = _asked(command, path)
        found = nearby(path, asked)
        if found is not None:
            return found
        bounds = await self.tails.bounds(path)
        if isinstance(asked, Position):
            if asked.epoch != bounds.epoch or asked.offset > bounds.last:
                # The answer may have been on its way before the client got there, by another node.
                bounds = await self.tails.bounds(path)
            return resume_at(command.filter, path, asked, bounds)
        before = None
        if asked.kind is StartKind.TIME:
            before = await self._store.before(path.stream, asked.value)
        return start_at(command.filter, path, asked, bounds, before)

    def _recovered(self, command: Subscribe, begun: Mapping[FollowedStream, StartPosition]) -> bool | None:
        if not command.resume:
            return None
        found = all(each.recovered for each in begun.values())
        return (
            found
            and names_all(command, tuple(begun))
            and not any(_leaves_out(command, path) for path in begun)
        )

    def _note_bounds(self, path: FollowedStream, bounds: Bounds) -> None:
        self.tails.note_bounds(path, bounds)


def asks_history(command: Subscribe) -> bool:
    """Whether ``command`` wants anything from before it."""
    return bool(command.resume) or command.start != START_NEW


def names_all(command: Subscribe, paths: tuple[FollowedStream, ...]) -> bool:
    """Whether every stream that ``resume`` names is one of ``paths``, those that the filter may match.

    Where one isn't, it is gone, or captures something else than when the client got its position: what it
    keeps for this filter is not given.
    """
    return {path.stream for path in paths}.issuperset(command.resume or ())


def _leaves_out(command: Subscribe, path: FollowedStream) -> bool:
    """Whether a client that comes back misses what a stream holds of which it has no position.

    It had one of every stream that its filter met. This one has come since, or captures now what it didn't.
    """
    if command.start != START_NEW or path.stream in (command.resume or ()):
        return False
    return path.tail.first <= path.tail.last


def _asked(command: Subscribe, path: FollowedStream) -> Position | Start:
    resumed = (command.resume or {}).get(path.stream)
    return command.start if resumed is None else resumed


def _needs_store(command: Subscribe, path: FollowedStream) -> bool:
    return _asked(command, path) != START_NEW


def _tail_position(path: FollowedStream) -> Position:
    return Position(path.tail.epoch, path.tail.last)
