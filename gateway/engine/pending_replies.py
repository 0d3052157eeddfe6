"""Answers to subscribe commands that wait for the bus or a store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.events import Event
    from gateway.errors import GatewayError

PendingReply: TypeAlias = "asyncio.Future[list[Event]]"


class PendingReplies:
    """Those still to be events: what ends a subscription must be able to refuse it first."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Outbox, str], list[PendingReply]] = {}

    def wait(self, outbox: Outbox, topic_filter: str) -> PendingReply:
        """Promise an answer to ``outbox``, about ``topic_filter``."""
        answer: PendingReply = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((outbox, topic_filter), []).append(answer)
        return answer

    def refuse(self, outbox: Outbox, topic_filter: str, error: GatewayError) -> None:
        """Answer with ``error`` what is still to be answered about ``topic_filter``."""
        # All of them: a client may have asked twice before the first was answered.
        for answer in self._waiting.pop((outbox, topic_filter), ()):
            if not answer.done():
                answer.set_exception(error)

    def resolve(
        self, outbox: Outbox, topic_filter: str, answer: PendingReply, events: list[Event] | None
    ) -> None:
        """Answer with these events, or not at all, unless it was refused meanwhile."""
        self._discard(outbox, topic_filter, answer)
        if not answer.done():
            if events is None:
                answer.cancel()
            else:
                answer.set_result(events)

    def fail(self, outbox: Outbox, topic_filter: str, answer: PendingReply, error: BaseException) -> None:
        """Answer with ``error``, unless it was refused meanwhile."""
        self._discard(outbox, topic_filter, answer)
        if not answer.done():
            answer.set_exception(error)

    def _discard(self, outbox: Outbox, topic_filter: str, answer: PendingReply) -> None:
        waiting = self._waiting.get((outbox, topic_filter), [])
        if answer in waiting:
            waiting.remove(answer)
            if not waiting:
                del self._waiting[outbox, topic_filter]
