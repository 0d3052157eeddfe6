"""A worker's handlers: which one a message is for, and how it is called."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from anyio import to_thread

from gateway.core.topics.grammar import TopicLimits, matches, parse_filter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio import CapacityLimiter

    from gateway.client.delivery import ClientDelivery

Handler: TypeAlias = "Callable[[ClientDelivery], Awaitable[None] | None]"
"""Async functions run in the event loop, others in threads."""

_ANY_SIZE: Final = TopicLimits(bytes=2**16, levels=2**16)


@dataclass(frozen=True, slots=True)
class TopicHandler:
    """One handler.

    Attributes:
        filter: the topics that it is for.
        function: what to call.
        threaded: it runs in a thread, so it can't be cancelled.
    """

    filter: str
    function: Handler
    threaded: bool

    async def call(self, delivery: ClientDelivery, threads: CapacityLimiter) -> None:
        """Run it, in one of ``threads`` if it needs one; cancelled, a thread is left to itself."""
        if self.threaded:
            result: Any = await to_thread.run_sync(
                self.function, delivery, limiter=threads, abandon_on_cancel=True
            )
        else:
            result = self.function(delivery)
        if inspect.isawaitable(result):
            await result


class Handlers:
    """The handlers of one worker, in the order in which they were given."""

    def __init__(self) -> None:
        self._handlers: list[TopicHandler] = []

    def __len__(self) -> int:
        return len(self._handlers)

    def add(self, topic_filter: str, function: Handler) -> None:
        """Have ``function`` called for topics that match, where none before it is for them.

        Raises:
            BadFilter: it breaks the grammar.
            ValueError: there is one for this filter.
        """
        parsed = parse_filter(topic_filter, _ANY_SIZE)
        if any(parsed == other.filter for other in self._handlers):
            raise ValueError(f"there is a handler for {topic_filter!r} already")
        self._handlers.append(TopicHandler(parsed, function, not _is_async(function)))

    def find(self, topic: str) -> TopicHandler | None:
        """The first whose filter matches."""
        return next((each for each in self._handlers if matches(each.filter, topic)), None)


def _is_async(function: Handler) -> bool:
    # A partial is looked through; of an object that can be called, its method is what counts.
    method = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method)
