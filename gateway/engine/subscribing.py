"""The use cases subscribe and unsubscribe: a connection's filters, and the node's interest in them."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.core.cluster.control import CONTROL_LEVEL
from gateway.core.messages.commands import StartKind
from gateway.core.messages.events import CaughtUp, Event, Subscribed, Unsubscribed
from gateway.core.streams.stream import may_be_live
from gateway.core.topics.grammar import TopicLimits, parse_filter
from gateway.engine.following.following import asks_history
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.pending_replies import PendingReplies, PendingReply
from gateway.errors import BadCommand, BusUnavailable, GatewayError, NotPermitted, TooMany, TooManyShapes

if TYPE_CHECKING:
    from gateway.auth.grants import Grants
    from gateway.bus.base import Bus
    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.messages.commands import Subscribe, Unsubscribe
    from gateway.core.streams.stream import FollowedStream
    from gateway.engine.following.following import Following
    from gateway.engine.following.tailing import Tails

_TURN_SECONDS: Final = 0.001
"""How long one connection's subscriptions are looked at before others get their turn."""


class SubscribeService:
    """Carries subscriptions out for all transports.

    The hub is joined before the bus is asked, so that nothing is missed in between; a node's interest is
    counted before it is awaited, and a second subscriber awaits the same call. Where a filter may match
    something of a stream, the subscription is counted at once too, and begins in one step with its answer.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        *,
        topic_limits: TopicLimits,
        refusals: Refusals | None = None,
        following: Following | None = None,
    ) -> None:
        self._hub = hub
        self._topic_limits = topic_limits
        self._refusals = refusals or Refusals()
        self._following = following
        self._tails = None if following is None else following.tails
        self._interests = InterestRegistry(bus, self._tails)
        self._answers = PendingReplies()
        self._leaving = False  # `_leave_portion` is about to be called

    def subscribe(self, outbox: Outbox, command: Subscribe, grants: Grants) -> list[Event] | PendingReply:
        """Subscribe ``outbox``.

        Returns:
            The events to answer with, in order, to be sent at once; or a future of them, where the bus or a
            store is awaited. Where a stream is concerned, the future is empty: the events have been sent
            then, in one step with the subscription's beginning.

        Raises:
            BadFilter: the filter is not valid.
            NotPermitted: no one grant covers the filter, or it is about what nodes tell each other.
            BadCommand: ``from`` asks for an offset, and not exactly one stream intersects the filter.
            TooMany: the connection holds as many subscriptions as it may, or matching would become too
                expensive.
            BusUnavailable: it can't be promised that nothing is missed.
            StreamUnavailable: the same, of a stream.
        """
        topic_filter = parse_filter(command.filter, self._topic_limits)
        control = topic_filter.startswith(CONTROL_LEVEL)
        if control or not grants.may_subscribe(topic_filter):
            self._refusals.count("grant")
            raise NotPermitted(f"no grant covers the filter {topic_filter[:128]!r}")
        streams = self._interests.streams(topic_filter)
        if command.start.kind is StartKind.OFFSET and len(streams) != 1:
            found = ", ".join(repr(stream.name) for stream in streams[:3]) or "none"
            raise BadCommand(
                f"from: an offset needs exactly one stream under {topic_filter!r}, there is {found}"
            )
        if streams:
            return self._subscribe_to_streams(outbox, command, streams)
        events = self._answer(command)
        # Asked before joining: if the bus can't be heard, only what this command has added is taken back.
        known = topic_filter in outbox.subscriptions
        self._join(outbox, command)
        awaited = self._interests.awaited(topic_filter)
        # It may have been confirmed long ago, for somebody else, by a connection that is broken now.
        if awaited is None and not self._interests.hears(topic_filter):
            if not known:
                self._leave(outbox, topic_filter)
            raise BusUnavailable("the way between the nodes is interrupted")
        return events if awaited is None else self._after(awaited, outbox, topic_filter, events)

    def ask(self, command: Subscribe, grants: Grants) -> asyncio.Future[bool] | None:
        """Ask whether ``subscribe`` is allowed; None where it knows, see ``Grants.ask``.

        Raises:
            BadFilter: the filter is not valid, and somebody would be asked about it.
        """
        if not grants.asks:
            return None
        topic_filter = parse_filter(command.filter, self._topic_limits)
        if topic_filter.startswith(CONTROL_LEVEL) or grants.may_subscribe(topic_filter):
            return None
        return grants.ask("subscribe", topic_filter)

    async def subscribe_when_known(
        self, asked: asyncio.Future[bool], outbox: Outbox, command: Subscribe, grants: Grants
    ) -> list[Event]:
        """As ``subscribe``, once ``asked`` says whether that is allowed; the events that are not sent yet."""
        again: asyncio.Future[bool] | None = asked
        while again is not None:
            await asyncio.shield(again)
            await asyncio.sleep(0)  # as in `Grants.when_known`
            again = self.ask(command, grants)
        if outbox.closed:
            return []
        events = self.subscribe(outbox, command, grants)
        if not isinstance(events, list):
            return await events
        if self._following is None:
            return events
        # In one step with the beginning, as above.
        self._following.send(outbox, events)
        return []

    def streams(self, text: str) -> tuple[str, ...]:
        """The names of the streams of which the filter ``text`` may match something.

        Raises:
            BadFilter: it is not valid.
        """
        return tuple(
            stream.name for stream in self._interests.streams(parse_filter(text, self._topic_limits))
        )

    def unsubscribe(self, outbox: Outbox, command: Unsubscribe) -> Unsubscribed:
        """End one subscription.

        Raises:
            BadFilter: the filter is not valid.
            NotFound: ``outbox`` isn't subscribed to it.
        """
        topic_filter = parse_filter(command.filter, self._topic_limits)
        self._leave(outbox, topic_filter)
        return Unsubscribed(topic_filter, ref=command.ref)

    async def restrict(self, outbox: Outbox, grants: Grants) -> list[str]:
        """End what ``grants`` don't cover, and the application has not begun; return its filters.

        A subscription that has yet to be confirmed is refused: it must not seem to begin after its end. The
        caller sees to it that no command comes in between: many filters take many turns of the event loop.
        """
        ended = []
        until = monotonic() + _TURN_SECONDS
        for topic_filter in list(outbox.subscriptions):
            if monotonic() > until:
                await asyncio.sleep(0)
                until = monotonic() + _TURN_SECONDS
            held = outbox.subscriptions.get(topic_filter)
            if held is None or held.given or grants.may_subscribe(topic_filter):
                continue
            self._leave(outbox, topic_filter)
            error = NotPermitted(f"no grant covers {topic_filter[:128]!r} any more")
            self._answers.refuse(outbox, topic_filter, error)
            ended.append(topic_filter)
        return ended

    def end(self, outbox: Outbox) -> None:
        """``outbox``'s connection has gone, and its subscriptions with it; idempotent.

        Many of them go in portions, one in each turn of the event loop.
        """
        self._end_interests(self._hub.detach(outbox))

    def _end_interests(self, filters: list[str]) -> None:
        for topic_filter in filters:
            self._interests.leave(topic_filter)
        if self._hub.leaving and not self._leaving:
            self._leaving = True
            asyncio.get_running_loop().call_soon(self._leave_portion)

    def _leave_portion(self) -> None:
        self._leaving = False
        self._end_interests(self._hub.let_leave())

    # Live topics

    def _join(self, outbox: Outbox, command: Subscribe, streams: tuple[FollowedStream, ...] = ()) -> None:
        """Take the subscription into the hub; of streams it gets nothing yet."""
        try:
            first = self._hub.subscribe(outbox, command.filter, command.overflow, streams, live=not streams)
        except TooMany as error:
            shapes = isinstance(error, TooManyShapes)
            self._refusals.count("filter_shapes" if shapes else "subscriptions_per_connection")
            raise
        # The hub comes first: whatever the bus brings once it has been asked must find its target.
        if first:
            try:
                self._interests.enter(command.filter)
            except BaseException:
                self._hub.unsubscribe(outbox, command.filter)
                raise

    def _leave(self, outbox: Outbox, topic_filter: str) -> None:
        if self._hub.unsubscribe(outbox, topic_filter):
            self._interests.leave(topic_filter)

    def _undo(self, outbox: Outbox, topic_filter: str, mine: Subscription) -> None:
        # It may have been ended and asked for again meanwhile: that one has an answer of its own.
        if outbox.subscriptions.get(topic_filter) is mine:
            self._leave(outbox, topic_filter)

    def _answer(self, command: Subscribe) -> list[Event]:
        """The answer where no stream is concerned."""
        # Whatever streams it has positions of, this filter gets nothing of them now.
        had = False if command.resume else None
        events: list[Event] = [Subscribed(command.filter, recovered=had, ref=command.ref)]
        if asks_history(command):
            events.append(CaughtUp(command.filter))
        return events

    def _after(
        self, asked: asyncio.Future[None], outbox: Outbox, topic_filter: str, events: list[Event]
    ) -> PendingReply:
        answer = self._answers.wait(outbox, topic_filter)
        mine = outbox.subscriptions[topic_filter]

        def resolve(future: asyncio.Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                self._undo(outbox, topic_filter, mine)
                self._answers.fail(outbox, topic_filter, answer, error)
            else:
                outcome = None if future.cancelled() else events
                self._answers.resolve(outbox, topic_filter, answer, outcome)

        asked.add_done_callback(resolve)
        return answer

    # Streams

    def _subscribe_to_streams(
        self, outbox: Outbox, command: Subscribe, streams: tuple[FollowedStream, ...]
    ) -> list[Event] | PendingReply:
        assert self._following is not None
        topic_filter = command.filter
        earlier = outbox.subscriptions.get(topic_filter)
        # An earlier one stays as it is until the new one can begin.
        if earlier is None:
            self._join(outbox, command, streams)
        mine = outbox.subscriptions[topic_filter]
        try:
            if self._interests.awaited(topic_filter) is None:
                if not self._interests.hears(topic_filter):
                    raise BusUnavailable("the way between the nodes is interrupted")
                beginnings = self._following.nearby(command, streams)
                if beginnings is not None:
                    return self._following.confirm(outbox, command, beginnings)
        except GatewayError:
            if earlier is None:
                self._undo(outbox, topic_filter, mine)
            raise
        answer = self._answers.wait(outbox, topic_filter)
        self._following.background.start(
            self._subscribe_later, outbox, command, mine, earlier is None, answer
        )
        return answer

    async def _subscribe_later(
        self,
        outbox: Outbox,
        command: Subscribe,
        mine: Subscription,
        new: bool,
        answer: PendingReply,
    ) -> None:
        assert self._following is not None
        topic_filter = command.filter
        try:
            if (asked := self._interests.awaited(topic_filter)) is not None:
                await asyncio.shield(asked)  # others await it too
            beginnings = await self._following.beginnings(command, mine.streams)
        except GatewayError as error:
            if new:
                self._undo(outbox, topic_filter, mine)
            self._answers.fail(outbox, topic_filter, answer, error)
            return
        # Ended, or ended and asked for again, while the store was read: nothing of this one may begin.
        if answer.done() or outbox.subscriptions.get(topic_filter) is not mine:
            self._answers.resolve(outbox, topic_filter, answer, None)
            return
        # In one step: between the answer and the beginning no publication may slip in, or be left out.
        self._following.send(outbox, self._following.confirm(outbox, command, beginnings))
        self._answers.resolve(outbox, topic_filter, answer, [])


class InterestRegistry:
    """What this node has to hear of: each filter that somebody subscribes to, counted once.

    A filter is told to the bus only where it may match live topics, and to the tails of those streams of
    which it may match something.
    """

    def __init__(self, bus: Bus, tails: Tails | None = None) -> None:
        self._bus = bus
        self._tails = tails
        self._awaited: dict[str, asyncio.Future[None]] = {}

    def streams(self, topic_filter: str) -> tuple[FollowedStream, ...]:
        """The streams of which ``topic_filter`` may match something."""
        return () if self._tails is None else self._tails.streams(topic_filter)

    def enter(self, topic_filter: str) -> None:
        """Somebody subscribes with this filter, and nobody did before.

        Raises:
            BusUnavailable: there is no such interest then.
        """
        streams = self.streams(topic_filter)
        # What a stream captures is read from it: the bus is asked only for what may be live.
        if may_be_live(topic_filter, streams):
            asked = self._bus.subscribe(topic_filter)
            if asked is not None:
                self._awaited[topic_filter] = asked
                asked.add_done_callback(lambda _: self._answered(topic_filter, asked))
        if self._tails is not None:
            self._tails.enter(streams)

    def leave(self, topic_filter: str) -> None:
        """Nobody subscribes with this filter any more."""
        streams = self.streams(topic_filter)
        if may_be_live(topic_filter, streams):
            self._bus.unsubscribe(topic_filter)
        if self._tails is not None:
            self._tails.leave(streams)

    def awaited(self, topic_filter: str) -> asyncio.Future[None] | None:
        """The bus's answer, while that is awaited; shared, so not to be cancelled."""
        return self._awaited.get(topic_filter)

    def hears(self, topic_filter: str) -> bool:
        """Whether no publication on a live topic that the filter matches is missed from now on."""
        return not may_be_live(topic_filter, self.streams(topic_filter)) or self._bus.hears(topic_filter)

    def _answered(self, topic_filter: str, asked: asyncio.Future[None]) -> None:
        # The filter may have been given up and asked for again meanwhile.
        if self._awaited.get(topic_filter) is asked:
            del self._awaited[topic_filter]
