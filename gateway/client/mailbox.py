"""One subscription's messages between the socket and the loop that takes them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import anyio

from gateway.core.events import Gap

if TYPE_CHECKING:
    from gateway.client.message import Message
    from gateway.client.valve import Valve
    from gateway.errors import GatewayError

Item: TypeAlias = "Message | Gap"

LOCAL = "client"
"""The gap's reason for what this client had to drop by itself."""


class MailboxClosed(Exception):  # noqa: N818 - no error: the end of an iteration
    """Everything was taken and nothing more comes."""


class Mailbox:
    """A bounded queue in order, which shuts the valve when it is full and opens it again at half of that.

    What still comes while the valve must be open goes into the reserve; when that is full too, the oldest
    item is dropped, and a ``Gap`` with the reason ``client`` and the exact count stands where it was.
    """

    def __init__(self, topic_filter: str, valve: Valve, *, size: int, reserve: int) -> None:
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
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add ``item``; never waits. After ``close`` it is ignored."""
        if self._closed:
            return
        if len(self._items) >= self._limit:
            self._lose(self._items.popleft())
        self._items.append(item)
        self._arrived.set()
        if not self._held and len(self._items) >= self._size:
            self._held = True
            self._valve.hold(self)

    def close(self, failure: GatewayError | None = None) -> None:
        """Take no more; what is there can still be had, then ``failure`` is raised, or the end."""
        if not self._closed:
            self._closed = True
            self._failure = failure
            self._arrived.set()
            self._release()

    async def take(self) -> Item:
        """Wait for the oldest item; one taker at a time.

        Raises:
            MailboxClosed: there is none and none will come.
            GatewayError: the same, because of this failure.
        """
        while not self._items:
            if self._closed:
                raise self._failure or MailboxClosed
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._oldest()

    def _oldest(self) -> Item:
        if self._lost != 0:
            gap = Gap(LOCAL, filter=self._filter, dropped=self._lost)
            self._lost = 0
            return gap
        item = self._items.popleft()
        if len(self._items) * 2 <= self._size:
            self._release()
        return item

    def _lose(self, item: Item) -> None:
        lost = item.dropped if isinstance(item, Gap) else 1
        self.dropped += lost or 0
        self._lost = None if self._lost is None or lost is None else self._lost + lost

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._valve.release(self)
