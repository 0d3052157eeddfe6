"""What this client is subscribed to, and which mailbox a message belongs into.

The gateway sends a live message once per connection however many of its filters match; so the client matches
each against its own filters. Subscriptions with the same filter share one on the wire, a ``Route``.

What is on the wire and what is wanted are kept apart: ``attach`` and ``detach`` only change what is wanted,
and one task per connection (``Link``) asks ``next_step`` what to send until both are the same. A reconnect is
then nothing special: ``disconnected`` forgets the wire, and everything is wanted anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from gateway.client.positions import FROM_NOW, Began, Beginning, Positions
from gateway.core.commands import START_NEW, StartKind, Subscribe
from gateway.core.events import CaughtUp, Gap
from gateway.core.trie import FilterIndex
from gateway.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.client.mailbox import Item, Mailbox
    from gateway.client.message import Message
    from gateway.core.commands import Overflow, Start
    from gateway.core.events import Subscribed
    from gateway.errors import GatewayError

RECONNECT = "reconnect"
"""The gap's reason after a reconnect: live messages may have been missed meanwhile, nobody counted them."""


@dataclass(eq=False, slots=True)
class Route:
    """One filter on the wire, with the mailboxes that share it.

    Attributes:
        mailboxes: in the order in which they joined.
        missed: those that were live on an earlier connection and get a gap when this one is.
        settled: set when the gateway has answered on this connection, or never will.
        failure: why it was refused.
        asked: whether ``subscribe`` was sent on this connection.
        live: whether the gateway has confirmed it on this connection.
        beginning: where it begins in streams, as long as nothing was received.
        received: where it is in streams, by what was received.
        catching_up: it gets history: only messages that name its filter are for it.
        changed: it is to be asked for again once it has caught up, for its overflow policy.
    """

    filter: str
    overflow: Overflow
    beginning: Beginning = FROM_NOW
    received: Positions = field(default_factory=Positions)
    mailboxes: list[Mailbox] = field(default_factory=list)
    missed: list[Mailbox] = field(default_factory=list)
    settled: anyio.Event = field(default_factory=anyio.Event)
    failure: GatewayError | None = None
    asked: bool = False
    live: bool = False
    catching_up: bool = False
    changed: bool = False
    _start: Start = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.beginning.start
        self.received.begin(self.beginning.resume)

    @property
    def alone(self) -> bool:
        """Its only mailbox began somewhere in history, where no other could join it."""
        return self.beginning.asks_history

    def ask(self, ref: int) -> Subscribe:
        """The command that begins it, behind what was received; once it is live, the one for new options."""
        self.asked = True
        if self.live:
            return Subscribe(self.filter, overflow=self.overflow, ref=ref)
        now = Beginning(self._start, self.received.current())
        self.catching_up = now.asks_history
        return Subscribe(self.filter, now.resume or None, now.start, overflow=self.overflow, ref=ref)

    def begin(self, answer: Subscribed) -> None:
        """The gateway has confirmed it on a new connection."""
        if answer.positions or self.received.current():
            self.received.begin(answer.positions)
            for mailbox in self.mailboxes:
                mailbox.begin(Began(answer.positions, answer.recovered))
        if self.beginning.start.kind is not StartKind.EARLIEST:
            # Whatever stream comes to be from now on, it is new; only "earliest" has a say in that.
            self._start = START_NEW


@dataclass(frozen=True, slots=True)
class Leave:
    """Send ``unsubscribe``; ``done`` is to be set when it was answered."""

    filter: str
    done: anyio.Event


class Routes:
    """The routes of one client; synchronous, so that every change is whole when anything else runs."""

    def __init__(self, *, cached_topics: int = 4096) -> None:
        self._routes: dict[str, Route] = {}
        self._live: FilterIndex[Route] = FilterIndex(cached_topics=cached_topics)
        self._wanted: dict[str, Route] = {}
        self._leaving: dict[str, anyio.Event] = {}
        self._cached_topics = cached_topics

    def __len__(self) -> int:
        return len(self._routes)

    def mailboxes(self) -> Iterator[Mailbox]:
        """Every mailbox there is."""
        for route in self._routes.values():
            yield from route.mailboxes

    def attach(
        self, topic_filter: str, mailbox: Mailbox, *, overflow: Overflow, beginning: Beginning = FROM_NOW
    ) -> Route:
        """Let ``mailbox`` share the filter's route; the overflow policy asked for last holds for all.

        Raises:
            Conflict: it or the one there asks for history, which is for one mailbox alone.
        """
        route = self._routes.get(topic_filter)
        if route is None:
            route = self._routes[topic_filter] = Route(topic_filter, overflow, beginning)
            self._wanted[topic_filter] = route
        elif route.alone or beginning.asks_history:
            raise Conflict(
                f"{topic_filter!r} is subscribed to already, and history can't be shared: "
                "end the other subscription, or use another client"
            )
        else:
            self._share(route, mailbox, overflow)
        route.mailboxes.append(mailbox)
        return route

    def detach(self, route: Route, mailbox: Mailbox) -> anyio.Event | None:
        """Take ``mailbox`` out; the last one takes the route off the wire.

        Returns:
            An event that is set when the gateway has confirmed it; None where nothing is to wait for.
        """
        if mailbox not in route.mailboxes:
            return None
        route.mailboxes.remove(mailbox)
        if mailbox in route.missed:
            route.missed.remove(mailbox)
        if route.mailboxes or self._routes.get(route.filter) is not route:
            return None
        self._drop(route)
        return self._leaving.setdefault(route.filter, anyio.Event()) if route.asked else None

    def next_step(self) -> Leave | Route | None:
        """What to send next, if anything; ``unsubscribe`` first, the filter may be the same."""
        if self._leaving:
            topic_filter = next(iter(self._leaving))
            return Leave(topic_filter, self._leaving.pop(topic_filter))
        if self._wanted:
            return self._wanted.pop(next(iter(self._wanted)))
        return None

    def confirm(self, route: Route, answer: Subscribed) -> None:
        """The gateway has ``route``: from here on it gets messages, after the gap of a reconnect.

        There is no such gap where the gateway goes on behind the positions it was given.
        """
        if self._routes.get(route.filter) is not route:
            return
        if not route.live:
            route.live = True
            self._live.insert(route.filter, route)
            route.begin(answer)
        if answer.recovered is not True:
            for mailbox in route.missed:
                mailbox.put(Gap(RECONNECT, filter=route.filter))
        route.missed.clear()
        route.settled.set()

    def caught_up(self, topic_filter: str) -> bool:
        """The route of ``topic_filter`` has all its history.

        Returns:
            Whether there is something to send now.
        """
        route = self._live.get(topic_filter)
        if route is None:
            return False
        route.catching_up = False
        if route.alone:
            self._put(route, CaughtUp(topic_filter))
        if route.changed:
            route.changed = False
            self.want(route)
            return True
        return False

    def refuse(self, route: Route, error: GatewayError) -> bool:
        """The gateway does not take ``route``; its mailboxes end with ``error``.

        Returns:
            True if instead it should be asked again later: the error will pass, and it was live before.
        """
        if self._routes.get(route.filter) is not route or route.live:
            return False
        if error.retry and route.missed:
            return True
        self._drop(route)
        route.failure = error
        route.settled.set()
        for mailbox in route.mailboxes:
            mailbox.close(error)
        return False

    def want(self, route: Route) -> None:
        """Ask for ``route`` again, unless it has gone meanwhile."""
        if self._routes.get(route.filter) is route:
            self._wanted[route.filter] = route

    def disconnected(self) -> None:
        """Nothing is on the wire any more; everything is wanted."""
        for done in self._leaving.values():
            done.set()
        self._leaving.clear()
        for route in self._routes.values():
            if route.live:
                route.missed = list(route.mailboxes)
                route.settled = anyio.Event()
            route.asked = route.live = route.catching_up = route.changed = False
        self._live = FilterIndex(cached_topics=self._cached_topics)
        self._wanted = dict(self._routes)

    def close(self, error: GatewayError | None) -> None:
        """End every mailbox, with ``error`` if there is one."""
        self.disconnected()
        for route in self._routes.values():
            route.failure = error
            route.settled.set()
            for mailbox in route.mailboxes:
                mailbox.close(error)
        self._routes.clear()
        self._wanted.clear()

    def deliver(self, message: Message, topic_filter: str | None) -> int:
        """Put a message into the mailboxes of every filter that matches, or of ``topic_filter`` alone.

        Returns:
            How many mailboxes got it.
        """
        if topic_filter is not None:
            return self._receive(self._live.get(topic_filter), message)
        live = [route for route in self._live.match(message.topic) if not route.catching_up]
        if message.stream is not None:
            # docs/protocol.md, "History": "skip those whose position [...] is at its offset or beyond".
            live = [route for route in live if not route.received.has(message)]
        return sum(self._receive(route, message) for route in live)

    def gap(self, gap: Gap) -> int:
        """Put a gap into the mailboxes of its filter, or of all where it names none."""
        if gap.filter is None:
            return sum(self._put(route, gap) for route in self._routes.values())
        route = self._live.get(gap.filter)
        if route is not None:
            route.received.pass_gap(gap)
        return self._put(route, gap)

    def _share(self, route: Route, mailbox: Mailbox, overflow: Overflow) -> None:
        if route.live and (received := route.received.current()):
            mailbox.begin(Began(received, None))
        if route.overflow is not overflow:
            route.overflow = overflow
            if route.catching_up:
                route.changed = True  # asked for now, it would end the history
            else:
                self._wanted[route.filter] = route

    def _receive(self, route: Route | None, message: Message) -> int:
        if route is not None:
            route.received.pass_message(message)
        return self._put(route, message)

    def _drop(self, route: Route) -> None:
        del self._routes[route.filter]
        self._wanted.pop(route.filter, None)
        if route.filter in self._live:
            self._live.remove(route.filter)

    @staticmethod
    def _put(route: Route | None, item: Item) -> int:
        if route is None:
            return 0
        for mailbox in route.mailboxes:
            mailbox.put(item)
        return len(route.mailboxes)
