"""The last values of one filter's topics, as its user sees them: a mapping that follows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

import anyio

from gateway.client.errors import ClientClosed
from gateway.client.positions import Began, SubscriptionStart
from gateway.client.state_view import PendingChanges, StateChange, StateView
from gateway.client.time_limit import time_limit
from gateway.core.messages.commands import START_SNAPSHOT, Overflow
from gateway.core.messages.events import CaughtUp, Gap
from gateway.core.timing.backoff import Backoff
from gateway.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from gateway.client.link import Link
    from gateway.client.mailbox import Item
    from gateway.client.message import Message
    from gateway.client.positions import PositionFields
    from gateway.client.route import Route
    from gateway.client.routes import Routes
    from gateway.errors import GatewayError

_BEGIN_ANEW = Backoff(first_seconds=1.0)
"""A new epoch is told to all clients in one moment; their snapshots are not asked for in one."""


class StateChanges(AsyncIterator[StateChange]):
    """The changes since it was made, each topic's merged into one until it is taken; for one reader.

    It ends with its state, and raises what that ended of.
    """

    def __init__(self) -> None:
        self._pending = PendingChanges()
        self._arrived = anyio.Event()
        self._end: tuple[GatewayError | None] | None = None

    def add(self, changes: list[StateChange]) -> None:
        """Take changes in."""
        for change in changes:
            self._pending.add(change)
        self._arrived.set()

    def close(self, failure: GatewayError | None) -> None:
        """Nothing more comes, because of ``failure`` if there is one."""
        self._end = (failure,)
        self._arrived.set()

    async def __anext__(self) -> StateChange:
        while not self._pending:
            if self._end is not None:
                raise self._end[0] or StopAsyncIteration
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._pending.take()


class StateFeed:
    """Takes what a route gets, as a mailbox does, and changes the view by it at once: nothing waits here.

    Attributes:
        view: what it makes of it.
        settled: set when the view is complete, or nothing comes any more.
        closed: nothing comes any more.
        failure: why.
        dropped: as a mailbox has it: none ever.
    """

    dropped = 0

    def __init__(
        self, *, max_topics: int, begin_anew: Callable[[], None], leave: Callable[[], object]
    ) -> None:
        self.view = StateView(max_topics=max_topics)
        self.settled = anyio.Event()
        self.closed = False
        self.failure: GatewayError | None = None
        self._begin_anew = begin_anew
        self._leave = leave
        self._followers: WeakSet[StateChanges] = WeakSet()

    def __len__(self) -> int:
        return 0

    def follow(self) -> StateChanges:
        """The changes from now on."""
        changes = StateChanges()
        if self.closed:
            changes.close(self.failure)
        self._followers.add(changes)
        return changes

    def begin(self, began: Began) -> None:
        """What is put from here on begins there."""
        self._tell(self.view.begin(began.positions, snapshot=began.snapshot))

    def put(self, item: Item) -> None:
        """Change the view."""
        if self.closed:
            return
        match item:
            case Began():
                self.begin(item)
            case CaughtUp():
                self._tell(self.view.caught_up())
                self.settled.set()
            case Gap():
                changes, anew = self.view.pass_gap(item)
                self._tell(changes)
                if anew:
                    self._begin_anew()
            case message:
                self._receive(message)

    def close(self, failure: GatewayError | None = None) -> None:
        """Take no more; what is shown stays."""
        if not self.closed:
            self.closed = True
            self.failure = failure
            self.settled.set()
            for changes in self._followers:
                changes.close(failure)

    def _receive(self, message: Message) -> None:
        try:
            self._tell(self.view.receive(message))
        except TooMany as error:
            self.close(error)
            self._leave()

    def _tell(self, changes: list[StateChange]) -> None:
        if changes:
            for follower in self._followers:
                follower.add(changes)


class ClientState(Mapping[str, "Message"]):
    """Topics and their last messages, made by ``Client.state``: a mapping that follows, in ``async with``.

    Entering waits until it is whole. It changes only while the program awaits something: what was read
    without an ``await`` in between belongs together. ``async for`` on it gives each change from there on.

    A reconnect goes on where it was. Where that is not possible, or something is missing, a new snapshot is
    taken; until that one is whole, what was there before is shown, and ``stale`` is true.

    Attributes:
        filter: the topic filter.
    """

    def __init__(
        self,
        link: Link,
        routes: Routes,
        topic_filter: str,
        *,
        max_topics: int,
        timeout: float,
        leave_timeout: float,
    ) -> None:
        if max_topics < 1:
            raise ValueError(f"max_topics {max_topics!r} must be at least 1")
        self.filter = topic_filter
        self._link = link
        self._routes = routes
        self._timeout = timeout
        self._leave_timeout = leave_timeout
        self._feed = StateFeed(max_topics=max_topics, begin_anew=self._begin_anew, leave=self._leave)
        self._route: Route | None = None
        self._failures = 0
        self._began_at = 0.0

    @property
    def positions(self) -> dict[str, PositionFields]:
        """Per stream what the view is as of, as a subscription's ``resume`` takes it."""
        current = self._feed.view.positions
        return {stream: {"epoch": at.epoch, "offset": at.offset} for stream, at in current.items()}

    @property
    def stale(self) -> bool:
        """Whether there may be newer values: not connected, not caught up, about to begin anew, or ended."""
        route = self._route
        followed = route is not None and route.live and not route.catching_up
        return not followed or self._feed.closed or not self._feed.view.following

    async def __aenter__(self) -> Self:
        """Subscribe, and wait until the view is whole.

        Raises:
            GatewayError: the gateway's refusals; ``CommandTimeout``: it took longer than ``timeout``;
                ``TooMany``: there are more topics than ``max_topics``; ``Conflict``: the client is subscribed
                to this filter already.
        """
        if self._route is not None or self._feed.closed:
            raise RuntimeError(f"the state of {self.filter!r} is used once; make another one")
        self._link.check_usable()
        if self._link.failure is not None:
            raise self._link.failure
        beginning = SubscriptionStart(START_SNAPSHOT)
        self._route = self._routes.attach(
            self.filter, self._feed, overflow=Overflow.SPILL, beginning=beginning
        )
        self._link.changed()
        try:
            with time_limit(self._timeout, f"state of {self.filter!r}"):
                await self._feed.settled.wait()
        except BaseException:
            self._leave()
            raise
        if self._feed.closed:
            raise self._feed.failure or ClientClosed("the client is closed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = self._leave()
        if done is not None and error is None:
            with anyio.move_on_after(self._leave_timeout):
                await done.wait()

    def __aiter__(self) -> StateChanges:
        """The changes from this moment on; ``aiter(state)`` begins before the loop does."""
        return self._feed.follow()

    def __getitem__(self, topic: str) -> Message:
        return self._feed.view.shown[topic]

    def __iter__(self) -> Iterator[str]:
        return iter(self._feed.view.shown)

    def __len__(self) -> int:
        return len(self._feed.view.shown)

    def __repr__(self) -> str:
        return f"<state of {self.filter!r}: {len(self)} topics{', stale' if self.stale else ''}>"

    def _begin_anew(self) -> None:
        assert self._route is not None
        now = anyio.current_time()
        self._failures = _BEGIN_ANEW.failures(self._failures, lived_seconds=now - self._began_at)
        self._began_at = now
        self._link.begin_anew(self._route, _BEGIN_ANEW.wait(self._failures))

    def _leave(self) -> anyio.Event | None:
        self._feed.close()
        if self._route is None:
            return None
        done = self._routes.detach(self._route, self._feed)
        self._link.changed()
        return done
