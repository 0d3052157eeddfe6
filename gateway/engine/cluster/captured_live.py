"""What streams capture, live as well: for as long as nodes capture different topics.

A node that captures a topic sends what it has stored over the bus too, with its stream and offset, for the
nodes that don't capture it; those that do know by the stream that they have it already. And it listens to the
bus for the topics of its streams, since what a node publishes that doesn't capture them is live.

Turned down: to refuse publishing or subscribing meanwhile (a roll-out would be an outage), and to ask the
others what they capture (they would have to agree on what both know before anything is safe).

Spec: docs/operations.md, "Rolling out streams".
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import anyio

from gateway.core.messages.publication import Publication
from gateway.core.topics.grammar import covers
from gateway.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.bus.base import Bus, Lost
    from gateway.core.cluster.info import NodeInfo
    from gateway.core.cluster.stream_agreement import StreamAgreement
    from gateway.core.streams.stream import StreamMap

_RETRY_SECONDS = 0.5
_NAMED_NODES = 5

_log = logging.getLogger("gateway.cluster")


class CapturedLive:
    """The way of captured publications over the bus; closed while all nodes agree.

    Attributes:
        agreement: whether they do.
        looks: what comes over the bus has to be looked at, by ``deliver``.
        announce: told of what may have been lost, once it can't be any more.
        copies: publications that were stored, and sent over the bus too.
    """

    def __init__(self, bus: Bus, streams: StreamMap, agreement: StreamAgreement) -> None:
        self.agreement = agreement
        self.announce: Lost = _to_nobody
        self._bus = bus
        self._streams = streams
        self._filters = [each.filter for each in streams]
        self._listened_to: set[str] = set()
        self._listening = False
        self._changed = anyio.Event()
        # Until this node has heard of all others, one of them may have heard of it first.
        self.looks = bool(self._filters)
        self.copies = 0

    @property
    def problem(self) -> str | None:
        """What to tell operators; None while all nodes agree."""
        differing = sorted(self.agreement.differing)
        if not differing:
            return None
        named = ", ".join(differing[:_NAMED_NODES]) + (", …" if len(differing) > _NAMED_NODES else "")
        return f"nodes whose [[streams]] capture other topics than this node's: {named}"

    def compare(self, others: Iterable[NodeInfo], *, complete: bool) -> bool:
        """Look at all other nodes again; return whether this node's own facts have changed.

        Args:
            others: as they told last.
            complete: those are all there are.
        """
        agreement = self.agreement
        before = agreement.both_ways
        compared = agreement.compare(others)
        self.looks = bool(self._filters) and (agreement.both_ways or not complete)
        if compared.changed:
            if (problem := self.problem) is not None:
                _log.warning("%s; until they agree, what streams capture travels both ways", problem)
            else:
                _log.info("all nodes capture the same topics again")
        if compared.joined:
            self.announce(_anything, None)
        if agreement.both_ways is not before:
            self._changed.set()
        return agreement.both_ways is not before

    def copy(
        self,
        publication: Publication,
        *,
        id: str,  # noqa: A002 - the wire's word
        stream: str | None,
        offset: int | None,
    ) -> asyncio.Future[None] | None:
        """Send what was stored over the bus as well; a repeat too, whose first may not have come so far.

        Args:
            publication: as it was given to the store.
            id: the one that it has there.
            stream: where it was stored.
            offset: its number there.

        Raises:
            BusUnavailable: here or from the future.
            RateLimited: more waits to be handed over than may.
        """
        self.copies += 1
        copied = _live(publication)
        copied.id, copied.stream, copied.offset = id, stream, offset
        return self._bus.publish(copied)

    def deliver(self, publication: Publication, onward: Callable[[Publication], None]) -> None:
        """Pass what came over the bus ``onward``, unless a stream of this node brings it."""
        stream = publication.stream
        if stream is not None and stream in self._streams:
            if self._streams.capturing(publication.topic) == stream:
                return
            # An offset that the stream's tail has not come to yet would move its subscribers on too far.
            publication = _live(publication)
        onward(publication)

    async def run(self) -> None:
        """Listen to the bus for what this node captures, while nodes differ; for ever."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            if not self.agreement.both_ways:
                self._stop_listening()
            elif not await self._listen():
                await anyio.sleep(_RETRY_SECONDS)
                self._changed.set()

    async def _listen(self) -> bool:
        for topic_filter in self._filters:
            if topic_filter not in self._listened_to:
                try:
                    asked = self._bus.subscribe(topic_filter)
                    if asked is not None:
                        await asyncio.shield(asked)  # the bus's own
                except BusUnavailable as exc:
                    _log.debug("not listening to %r yet: %s", topic_filter, exc)
                    return False
                self._listened_to.add(topic_filter)
        if not self._listening:
            self._listening = True
            # What was published on nodes that don't capture these topics until now went past this node.
            self.announce(self._is_captured, None)
        return True

    def _stop_listening(self) -> None:
        self._listening = False
        for topic_filter in self._listened_to:
            self._bus.unsubscribe(topic_filter)
        self._listened_to.clear()

    def _is_captured(self, topic_filter: str) -> bool:
        return any(covers(each, topic_filter) for each in self._filters)


def _live(publication: Publication) -> Publication:
    return Publication(
        publication.topic,
        publication.id,
        publication.time,
        publication.data,
        publication.binary,
        publication.content_type,
        publication.headers,
        publication.key,
        deleted=publication.deleted,
    )


def _anything(_topic_filter: str) -> bool:
    return True


def _to_nobody(affects: Callable[[str], bool], dropped: int | None) -> None:
    """Stand in for ``announce`` until there is somebody to tell."""
