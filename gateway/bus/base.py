"""What carries live publications between the nodes of one gateway.

The interface is synchronous with an optional future, since on the hot path a coroutine per publication costs
more than the local fan-out itself: ``None`` says that it is already done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.core.publication import Publication


class Bus(Protocol):
    """One node's door to all nodes, itself included."""

    async def start(self, deliver: Callable[[Publication], None]) -> None:
        """Begin; ``deliver`` is called for every publication of any node, in one order per topic."""
        ...

    async def stop(self) -> None:
        """End, letting go of everything that was opened."""
        ...

    def publish(self, publication: Publication) -> asyncio.Future[None] | None:
        """Hand ``publication`` to every node.

        Returns:
            None if that is done, else a future that is done when it is.

        Raises:
            BusUnavailable: here or from the future; it may have been handed over all the same.
        """
        ...

    def subscribe(self, topic_filter: str) -> asyncio.Future[None] | None:
        """This node's first interest in ``topic_filter``; when done, no later publication is missed.

        Raises:
            BusUnavailable: here or from the future.
        """
        ...

    def unsubscribe(self, topic_filter: str) -> None:
        """This node's last interest in ``topic_filter`` has ended."""
        ...
