"""One page of connections from those of several nodes."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.cluster.control import Connections, SlowConnections
    from gateway.core.cluster.info import ConnectionInfo


class MergedPage(NamedTuple):
    """Connections, each with its node, in the order of their sessions' names."""

    connections: list[tuple[str, ConnectionInfo]]
    next: str | None


def slowest(pages: Mapping[str, SlowConnections], *, limit: int) -> list[tuple[str, ConnectionInfo]]:
    """Those of several nodes for which most waits, the most first, each with its node.

    What is faster than the last one of a node that has more is left out: those could be slower.
    """
    rows = ((node, facts) for node, page in pages.items() for facts in page.connections)
    told = heapq.nsmallest(limit, rows, key=lambda row: (slowness(row[1]), row[0]))
    ends = [slowness(page.connections[-1]) for page in pages.values() if page.more and page.connections]
    return [row for row in told if not ends or slowness(row[1]) <= min(ends)]


def slowness(facts: ConnectionInfo) -> tuple[int, int, int, str]:
    """What a connection is ordered by: the slowest is least.

    For a blocked one that was let go nothing waits, as for one that is up to date: it is ordered before that.
    """
    blocked = -1 if facts.blocked_ms is None else facts.blocked_ms
    return -facts.waiting_bytes, -facts.waiting_messages, -blocked, facts.session


def merge(pages: Mapping[str, Connections], *, limit: int) -> MergedPage:
    """Merge the nodes' pages, all of which follow the same name.

    A node may have told fewer than it was asked for. Names behind the end of a page that has a next one are
    left for the next merged page, since names may be missing in between.
    """
    ends = [page.next for page in pages.values() if page.next is not None]
    rows = sorted(
        ((node, facts) for node, page in pages.items() for facts in page.connections),
        key=lambda row: (row[1].session, row[0]),
    )
    if ends:
        rows = [row for row in rows if row[1].session <= min(ends)]
    taken = rows[:limit]
    more = bool(ends) or len(rows) > limit
    return MergedPage(taken, taken[-1][1].session if more and taken else None)
