"""Nodes that divide live topics among another number of partitions: they hear each other by chance.

Nothing can be done about it here, since each message travels in one partition by its publisher's count. So
operators are told, and subscribers that they may have missed something, again and again while it lasts.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.bus.base import Lost
    from gateway.core.cluster.info import NodeInfo

GAP_SECONDS = 30.0
"""How often subscribers are told while it lasts."""

_NAMED_NODES = 5

_log = logging.getLogger("gateway.cluster")


class PartitionDifference:
    """This node's view of it.

    Attributes:
        partitions: of this node.
        nodes: those with another number, by name.
        announce: told of what may have been lost.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.nodes: list[str] = []
        self.announce: Lost = _to_nobody
        self._announced = -math.inf

    @property
    def problem(self) -> str | None:
        """What to tell operators; None while all nodes agree."""
        if not self.nodes:
            return None
        named = ", ".join(self.nodes[:_NAMED_NODES]) + (", …" if len(self.nodes) > _NAMED_NODES else "")
        return f"nodes whose redis.partitions is not this node's {self.partitions}: {named}"

    def compare(self, others: Iterable[NodeInfo], now: float) -> None:
        """Look at every other node that is there, at ``now`` in monotonic seconds."""
        nodes = sorted(facts.node for facts in others if facts.partitions not in {0, self.partitions})
        before, self.nodes = self.nodes, nodes
        if nodes != before:
            if nodes:
                _log.warning("%s; live messages between them are missed", self.problem)
            else:
                _log.info("all nodes have the same redis.partitions again")
        # Once more as it ends: what was missed since the last time.
        if (nodes and now - self._announced >= GAP_SECONDS) or nodes != before:
            self._announced = now
            self.announce(_anything, None)


def _anything(_topic_filter: str) -> bool:
    return True


def _to_nobody(affects: Callable[[str], bool], dropped: int | None) -> None:
    """Stand in for ``announce`` until there is somebody to tell."""
