"""The use cases subscribe and unsubscribe: a connection's filters, and the node's interest in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.commands import Start, StartKind
from gateway.core.control import is_control
from gateway.core.events import CaughtUp, Event, Subscribed, Unsubscribed
from gateway.core.topics import TopicLimits, parse_filter
from gateway.engine.refusals import Refusals
from gateway.errors import BadCommand, BusUnavailable, NotPermitted, TooMany

if TYPE_CHECKING:
    import asyncio

    from gateway.auth.grants import Grants
    from gateway.bus.base import Bus
    from gateway.core.commands import Subscribe, Unsubscribe
    from gateway.core.hub import Hub
    from gateway.core.outbox import Outbox


class Subscriber:
    """Carries subscriptions out for all transports.

    The hub is joined before the bus is asked, so that nothing is missed in between; a node's interest is
    counted before it is awaited, and a second subscriber awaits the same call.
    """

    def __init__(
        self, hub: Hub, bus: Bus, *, topic_limits: TopicLimits, refusals: Refusals | None = None
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._topic_limits = topic_limits
        self._refusals = refusals or Refusals()
        self._awaited: dict[str, asyncio.Future[None]] = {}
        # Answers that wait for the bus: what ends a subscription must be able to answer first.
        self._unanswered: dict[tuple[Outbox, str], list[asyncio.Future[list[Event]]]] = {}

    def subscribe(
        self, outbox: Outbox, command: Subscribe, grants: Grants
    ) -> list[Event] | asyncio.Future[list[Event]]:
        """Subscribe ``outbox``.

        Returns:
            The events to answer with, in order, or a future of them where the bus is awaited.

        Raises:
            BadFilter: the filter is none.
            NotPermitted: no one grant covers the filter, or it is about what nodes tell each other.
            BadCommand: ``from`` asks for an offset, and not exactly one stream intersects the filter.
            TooMany: the connection holds as many subscriptions as it may.
            BusUnavailable: it can't be promised that nothing is missed.
        """
        topic_filter = parse_filter(command.filter, self._topic_limits)
        if is_control(topic_filter) or not grants.may_subscribe(topic_filter):
            self._refusals.count("grant")
            raise NotPermitted(f"no grant covers the filter {topic_filter[:128]!r}")
        if command.start.kind is StartKind.OFFSET:
            raise BadCommand(
                f"from: an offset needs exactly one stream under {topic_filter!r}, there is none"
            )
        events = _answer(command)
        known = topic_filter in outbox.subscriptions
        try:
            first = self._hub.subscribe(outbox, topic_filter, command.overflow)
        except TooMany:
            self._refusals.count("subscriptions_per_connection")
            raise
        if first:
            self._ask_bus(outbox, topic_filter)
        awaited = self._awaited.get(topic_filter)
        if awaited is None and not self._bus.hears(topic_filter):
            if not known:
                self._leave(outbox, topic_filter)
            raise BusUnavailable("the way between the nodes is interrupted")
        return events if awaited is None else self._after(awaited, outbox, topic_filter, events)

    def unsubscribe(self, outbox: Outbox, command: Unsubscribe) -> Unsubscribed:
        """End one subscription.

        Raises:
            BadFilter: the filter is none.
            NotFound: ``outbox`` isn't subscribed to it.
        """
        topic_filter = parse_filter(command.filter, self._topic_limits)
        self._leave(outbox, topic_filter)
        return Unsubscribed(topic_filter, ref=command.ref)

    def restrict(self, outbox: Outbox, grants: Grants) -> list[str]:
        """End what ``grants`` don't cover, and return its filters.

        A subscription that has yet to be confirmed is refused: it must not seem to begin after its end.
        """
        ended = [each for each in outbox.subscriptions if not grants.may_subscribe(each)]
        for topic_filter in ended:
            self._leave(outbox, topic_filter)
            for answer in self._unanswered.pop((outbox, topic_filter), ()):
                if not answer.done():
                    answer.set_exception(NotPermitted(f"no grant covers {topic_filter[:128]!r} any more"))
        return ended

    def end(self, outbox: Outbox) -> None:
        """``outbox``'s connection has gone, and its subscriptions with it; idempotent."""
        for topic_filter in self._hub.detach(outbox):
            self._bus.unsubscribe(topic_filter)

    def _ask_bus(self, outbox: Outbox, topic_filter: str) -> None:
        try:
            asked = self._bus.subscribe(topic_filter)
        except BaseException:
            self._hub.unsubscribe(outbox, topic_filter)
            raise
        if asked is not None:
            self._awaited[topic_filter] = asked
            asked.add_done_callback(lambda _: self._answered(topic_filter, asked))

    def _answered(self, topic_filter: str, asked: asyncio.Future[None]) -> None:
        # The filter may have been given up and asked for again meanwhile.
        if self._awaited.get(topic_filter) is asked:
            del self._awaited[topic_filter]

    def _leave(self, outbox: Outbox, topic_filter: str) -> None:
        if self._hub.unsubscribe(outbox, topic_filter):
            self._bus.unsubscribe(topic_filter)

    def _after(
        self, asked: asyncio.Future[None], outbox: Outbox, topic_filter: str, events: list[Event]
    ) -> asyncio.Future[list[Event]]:
        answer: asyncio.Future[list[Event]] = asked.get_loop().create_future()
        mine = outbox.subscriptions[topic_filter]
        self._unanswered.setdefault((outbox, topic_filter), []).append(answer)

        def settle(future: asyncio.Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            # It may have been ended and asked for again meanwhile: that one has an answer of its own.
            if error is not None and outbox.subscriptions.get(topic_filter) is mine:
                self._leave(outbox, topic_filter)
            self._no_longer_waits(answer, (outbox, topic_filter))
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            elif future.cancelled():
                answer.cancel()
            else:
                answer.set_result(events)

        asked.add_done_callback(settle)
        return answer

    def _no_longer_waits(self, answer: asyncio.Future[list[Event]], key: tuple[Outbox, str]) -> None:
        waiting = self._unanswered.get(key, [])
        if answer in waiting:
            waiting.remove(answer)
            if not waiting:
                del self._unanswered[key]


def _answer(command: Subscribe) -> list[Event]:
    # No stream holds anything yet: what a client names in `resume` can't be had.
    recovered = False if command.resume else None
    events: list[Event] = [Subscribed(command.filter, recovered=recovered, ref=command.ref)]
    if command.start != Start(StartKind.NEW):
        events.append(CaughtUp(command.filter))
    return events
