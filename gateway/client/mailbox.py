"""One subscription's messages between the socket and the loop that takes them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import anyio

from gateway.client.positions import Began, Positions
from gateway.core.messages.events import CaughtUp, Gap

if TYPE_CHECKING:
    from gateway.client.message import Message
    from gateway.client.read_gate import ReadGate
    from gateway.errors import GatewayError

Item: TypeAlias = "Message | Gap | CaughtUp | Began"
"""Messages and gaps, and the marks that tell where among them history begins and ends."""

LOCAL = "client"
"""The gap's reason for what this client had to drop by itself."""


class MailboxClosed(Exception):  # noqa: N818 - no error: the end of an iteration
    """Everything was taken and nothing more comes."""


class Mailbox:
    """A bounded queue in order, which shuts the valve when it is full and opens it again at half of that.

    What still comes while the valve must be open goes into the reserve; when that is full too, the oldest
    item is dropped, and a ``Gap`` with the reason ``client`` and the exact count stands where it was.

    Attributes:
        positions: where in each stream the last item taken was.
        dropped: how many messages were dropped here.
    """

    def __init__(
        self,
        topic_filter: str,
        valve: ReadGate,
        *,
        size: int,
        reserve: int,
        positions: Positions | None = None,
    ) -> None:
        if size < 1 or reserve < 0:
            raise ValueError(f"buffer {size!r} must be at least 1, and reserve {reserve!r} not negative")
        self._filter = topic_filter
        self._valve = valve
        self._size = size
        self._limit = size + reserve
        self._items: deque[Item] = deque()
        self._lost: int | None = 0
        self._held = False
        self._closed = False
        self._failure: GatewayError | None = None
        self._arrived = anyio.Event()
        self.positions = positions or Positions()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add ``item``; never waits. After ``close`` it is ignored."""
        if self._closed:
            return
        if len(self._items) >= self._limit:
            self._lose_oldest()
        self._items.append(item)
        self._arrived.set()
        if not self._held and len(self._items) >= self._size:
            self._held = True
            self._valve.hold(self)

    def begin(self, began: Began) -> None:
        """What is put from here on begins at ``began``'s positions."""
        # Where a gap follows, the positions before it stand until the loop takes it: it must be told again
        # to a program that ends before.
        if self._items or began.recovered is False:
            self.put(began)
        else:
            self.positions.begin(began.positions)

    def close(self, failure: GatewayError | None = None) -> None:
        """Take no more; what is there can still be had, then ``failure`` is raised, or the end."""
        if not self._closed:
            self._closed = True
            self._failure = failure
            self._arrived.set()
            self._release()

    async def take(self) -> Item:
        """Wait for the oldest item that is no ``Began``; one taker at a time.

        Raises:
            MailboxClosed: there is none and none will come.
            GatewayError: the same, because of this failure.
        """
        while True:
            while not self._items:
                if self._closed:
                    raise self._failure or MailboxClosed
                self._arrived = anyio.Event()
                await self._arrived.wait()
            item = self._oldest()
            if not isinstance(item, Began):
                return item

    def _oldest(self) -> Item:
        if self._lost != 0:
            gap = Gap(LOCAL, filter=self._filter, dropped=self._lost)
            self._lost = 0
            return gap
        item = self._items.popleft()
        if len(self._items) * 2 <= self._size:
            self._release()
        self._pass(item)
        return item

    def _pass(self, item: Item) -> None:
        match item:
            case Began():
                self.positions.begin(item.positions)
            case Gap():
                self.positions.pass_gap(item)
            case CaughtUp():
                pass
            case message:
                self.positions.pass_message(message)

    def _lose_oldest(self) -> None:
        item = self._items.popleft()
        match item:
            case CaughtUp():
                # No message: it keeps its place behind the gap that tells what was lost.
                if self._items:
                    self._lose_oldest()
                self._items.appendleft(item)
            case Began():
                self._pass(item)
            case Gap():
                self._pass(item)
                self._count_lost(item.dropped)
            case _:
                # It does not move the position: what was not taken may be asked for again.
                self._count_lost(1)

    def _count_lost(self, lost: int | None) -> None:
        self.dropped += lost or 0
        self._lost = None if self._lost is None or lost is None else self._lost + lost

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._valve.release(self)
