"""What carries live publications between the nodes of one gateway.

The interface is synchronous with an optional future, since on the hot path a coroutine per publication costs
more than the local fan-out itself: ``None`` says that it is already done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gateway.core.messages.publication import Publication


class Lost(Protocol):
    """Called when publications of this or other nodes have been lost, or may have been."""

    def __call__(self, affects: Callable[[str], bool], dropped: int | None) -> None:
        """Tell the subscribers of filters that ``affects`` holds for; ``dropped`` in all, None: unknown."""
        ...


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """Counts since the start, and sizes now.

    Attributes:
        connected: publishing and subscribing are possible.
        publications_out: handed to the bus and confirmed.
        batches_out: the payloads that carried them.
        publications_in: heard from the bus, own ones included.
        batches_in: the payloads that carried them.
        failed: publications whose hand-over was not confirmed.
        lost: publications that are known not to have come.
        foreign: payloads that can't be read, or of nodes that divide topics otherwise.
        breaks: times that listening was interrupted, so that publications may have been lost.
        reconnects: connections made after the first ones.
        waiting_bytes: waiting to be handed over.
        unread_bytes: heard, and waiting to be fanned out.
        partitions: listened to.
        latency_counts: how long handing over took, see ``Latencies``; None where it takes no time.
    """

    connected: bool = True
    publications_out: int = 0
    batches_out: int = 0
    publications_in: int = 0
    batches_in: int = 0
    failed: int = 0
    lost: int = 0
    foreign: int = 0
    breaks: int = 0
    reconnects: int = 0
    waiting_bytes: int = 0
    unread_bytes: int = 0
    partitions: int = 0
    latency_counts: Sequence[int] | None = None


class Bus(Protocol):
    """One node's door to all nodes, itself included."""

    async def start(self, deliver: Callable[[Publication], None], lost: Lost) -> None:
        """Begin.

        Args:
            deliver: called for every publication of any node, in one order per topic.
            lost: called, in order with these, where publications did not come.
        """
        ...

    async def stop(self) -> None:
        """End, letting go of everything that was opened."""
        ...

    def publish(self, publication: Publication) -> asyncio.Future[None] | None:
        """Hand ``publication`` to every node.

        Returns:
            None if that is done, else a future that is done when it is; publications share it, so it must not
            be cancelled.

        Raises:
            BusUnavailable: here or from the future; it may have been handed over all the same.
            RateLimited: more waits to be handed over than may.
        """
        ...

    def subscribe(self, topic_filter: str) -> asyncio.Future[None] | None:
        """This node's first interest in ``topic_filter``; when done, no later publication is missed.

        Raises:
            BusUnavailable: here or from the future; then there is no such interest.
        """
        ...

    def hears(self, topic_filter: str) -> bool:
        """Whether, of a filter in which this node has an interest, no publication is missed from now on."""
        ...

    def unsubscribe(self, topic_filter: str) -> None:
        """This node's last interest in ``topic_filter`` has ended; idempotent."""
        ...

    def statistics(self) -> BusStatistics:
        """A snapshot for metrics, health and tests."""
        ...
