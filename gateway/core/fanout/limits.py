"""What a hub may use, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.messages.commands import Overflow
    from gateway.core.topics.filter_index import IndexStatistics


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Bounds of the hub.

    Attributes:
        subscriptions: per connection.
        cached_topics: topics whose matching filters are remembered.
        match_cache_bytes: about how large they and the remembered target lists may be together.
        filter_shapes: different beginnings of the shapes of long filters; see ``filter_trie.py``.
        shapes: different shapes of one connection's filters.
        tick_bytes: what a connection may be given in one tick before it is written.
        tick_messages: the same in messages.
    """

    subscriptions: int = 1000
    cached_topics: int = 65536
    match_cache_bytes: int = 128 * 1024 * 1024
    filter_shapes: int = 2048
    shapes: int = 256
    tick_bytes: int = 256 * 1024
    tick_messages: int = 1024


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Counts since the start, and sizes now.

    Attributes:
        connections: attached outboxes.
        subscriptions: of all connections.
        filters: distinct ones.
        index: how they are matched.
        target_list_bytes: about how large the remembered target lists are.
        published: publications fanned out.
        unmatched: those of them that nobody subscribed to.
        delivered: publications times the connections that were given them, even if lost later.
        delivered_bytes: of their frames, without those of connections that read history.
        dropped: by policy, publications that a connection lost.
        blocked: connections that can't be written now.
        unwritten: connections with bytes of this tick.
        spills: times that a connection has left a stream's live path, to read on from the stream later.
        spilled: connections times streams that are out of the live path now.
    """

    connections: int
    subscriptions: int
    filters: int
    index: IndexStatistics
    target_list_bytes: int
    published: int
    unmatched: int
    delivered: int
    delivered_bytes: int
    dropped: dict[Overflow, int]
    blocked: int
    unwritten: int
    spills: int
    spilled: int
