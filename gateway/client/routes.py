"""What this client is subscribed to, and which mailbox a message belongs into.

The gateway sends a live message once per connection however many of its filters match; so the client matches
each against its own filters. Subscriptions with the same filter share one on the wire, a ``Route``.

What is on the wire and what is wanted are kept apart: ``attach`` and ``detach`` only change what is wanted,
and one task per connection (``Link``) asks ``next_step`` what to send until both are the same. A reconnect is
then nothing special: ``disconnected`` forgets the wire, and everything is wanted anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from gateway.client.positions import FROM_NOW, Began, SubscriptionStart
from gateway.client.route import Route
from gateway.core.topics.filter_index import FilterIndex
from gateway.errors import Conflict, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.client.message import Message
    from gateway.client.route import Recipient
    from gateway.core.messages.commands import Overflow
    from gateway.core.messages.events import Gap, Subscribed
    from gateway.errors import GatewayError


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

    def mailboxes(self) -> Iterator[Recipient]:
        """Every mailbox there is."""
        for route in self._routes.values():
            yield from route.mailboxes

    def attach(
        self,
        topic_filter: str,
        mailbox: Recipient,
        *,
        overflow: Overflow,
        beginning: SubscriptionStart = FROM_NOW,
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

    def detach(self, route: Route, mailbox: Recipient) -> anyio.Event | None:
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
            self._live.insert(route.filter, route)
        route.confirm(answer)

    def caught_up(self, topic_filter: str) -> bool:
        """The route of ``topic_filter`` has all its history.

        Returns:
            Whether there is something to send now.
        """
        route = self._live.get(topic_filter)
        if route is None:
            return False
        route.caught_up()
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
        route.end(error)
        return False

    def ended(self, topic_filter: str) -> None:
        """The gateway has ended the subscription to ``topic_filter``, which nobody here had asked for."""
        route = self._routes.get(topic_filter)
        if route is not None and route.live:
            self._drop(route)
            route.end(NotPermitted(f"the gateway has ended the subscription to {topic_filter!r}"))

    def begin_anew(self, route: Route) -> bool:
        """Let nothing more of ``route`` come until it has been asked for again, as it was the first time.

        Returns:
            Whether that is to be done: it was live.
        """
        if not route.live or self._routes.get(route.filter) is not route:
            return False
        self._live.remove(route.filter)
        route.begin_anew()
        return True

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
            route.disconnected()
        self._live = FilterIndex(cached_topics=self._cached_topics)
        self._wanted = dict(self._routes)

    def close(self, error: GatewayError | None) -> None:
        """End every mailbox, with ``error`` if there is one."""
        self.disconnected()
        for route in self._routes.values():
            route.end(error)
        self._routes.clear()
        self._wanted.clear()

    def deliver(self, message: Message, topic_filter: str | None) -> int:
        """Put a message into the mailboxes of every filter that matches, or of ``topic_filter`` alone.

        Returns:
            How many mailboxes got it.
        """
        if topic_filter is not None:
            route = self._live.get(topic_filter)
            return 0 if route is None else route.receive(message)
        live = [route for route in self._live.match(message.topic) if not route.catching_up]
        if message.stream is not None:
            # docs/protocol.md, "History": "skip those whose position [...] is at its offset or beyond".
            live = [route for route in live if not route.received.has(message)]
        return sum(route.receive(message) for route in live)

    def gap(self, gap: Gap) -> int:
        """Put a gap into the mailboxes of its filter, or of all where it names none."""
        if gap.filter is None:
            return sum(route.put(gap) for route in self._routes.values())
        route = self._live.get(gap.filter)
        if route is None:
            return 0
        route.received.pass_gap(gap)
        return route.put(gap)

    def _share(self, route: Route, mailbox: Recipient, overflow: Overflow) -> None:
        if route.live and (received := route.received.current()):
            mailbox.begin(Began(received, None))
        if route.overflow is not overflow:
            route.overflow = overflow
            if route.catching_up:
                route.changed = True  # asked for now, it would end the history
            else:
                self._wanted[route.filter] = route

    def _drop(self, route: Route) -> None:
        del self._routes[route.filter]
        self._wanted.pop(route.filter, None)
        if route.filter in self._live:
            self._live.remove(route.filter)
