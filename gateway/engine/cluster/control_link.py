"""A node's way to tell the others something, and to understand what they tell, over the bus."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from gateway.core.cluster.control import ALL_NODES, BadControl, Body, Control, topic_of
from gateway.core.messages.publication import Publication

if TYPE_CHECKING:
    from gateway.bus.base import Bus

_WARN_SECONDS = 60.0

_log = logging.getLogger("gateway.cluster")


class ControlCodec(Protocol):
    """Control messages ↔ bytes; both directions raise ``BadControl``."""

    def encode(self, message: Control) -> bytes:
        """Return ``message`` as JSON."""
        ...

    def decode(self, encoded: bytes) -> Control:
        """Return what another node has sent."""
        ...


class ControlLink:
    """Sends and reads control messages.

    Attributes:
        node: this one's name.
        unreadable: messages that could not be understood.
    """

    def __init__(self, bus: Bus, codec: ControlCodec, *, node: str) -> None:
        self.node = node
        self._bus = bus
        self._codec = codec
        self._topics = (ALL_NODES, topic_of(node))
        self._warned: float | None = None
        self.unreadable = 0

    @property
    def hearing(self) -> bool:
        """Whether what all nodes are told is heard now."""
        return self._bus.hears(ALL_NODES)

    async def listen(self) -> None:
        """Hear what all nodes and what this one are told from now on; may be called again and again.

        Raises:
            BusUnavailable: not now.
        """
        for topic in self._topics:
            # An interest outlives a break of the bus; asking for it again only waits for it to be heard.
            if not self._bus.hears(topic) and (asked := self._bus.subscribe(topic)) is not None:
                await asyncio.shield(asked)

    async def send(self, body: Body, *, to: str | None = None, id: str = "") -> None:  # noqa: A002 - the wire's word
        """Send ``body`` to one node, or to all.

        Raises:
            BusUnavailable: it may have been told all the same.
            RateLimited: more waits to be told than may.
            BadControl: it is too large.
        """
        topic = ALL_NODES if to is None else topic_of(to)
        data = self._codec.encode(Control(self.node, id, body))
        sent = self._bus.publish(Publication(topic, "control", time.time_ns() // 1_000_000, data))
        if sent is not None:
            # Publications share the future.
            await asyncio.shield(sent)

    def read(self, publication: Publication) -> Control | None:
        """Return what was told; None where this node can't understand it, or it is another one's."""
        # Nodes share the partitions that a bus carries this in: what one alone is told, others hear.
        if publication.topic not in self._topics:
            return None
        try:
            return self._codec.decode(publication.data or b"")
        except BadControl as exc:
            self.unreadable += 1
            now = time.monotonic()
            if self._warned is None or now - self._warned >= _WARN_SECONDS:
                self._warned = now
                _log.warning("what another node tells can't be understood: %s", exc)
            return None
