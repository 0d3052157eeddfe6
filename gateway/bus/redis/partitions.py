"""Which partition a topic travels in, and which ones a filter has to hear.

A topic's first level decides, so that a filter such as ``orders/#`` is one partition's affair. Every node
must come to the same answer, so the hash is one that neither Python's version nor its seed changes.

What nodes tell each other has partitions of its own behind those of the clients' topics: it must neither
wait behind their traffic nor make every node listen to a part of it, and when some of it is lost no client
has missed anything.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from gateway.core.cluster.control import CONTROL_LEVEL

CONTROL_PARTITIONS: Final = 16
"""The first is what all nodes hear, the others are shared by what single nodes are told."""


def partition_of(topic: str, partitions: int) -> int:
    """The partition of ``topic``, from 0; those from ``partitions`` on are the nodes' own."""
    first = topic.partition("/")[0]
    if first.startswith(CONTROL_LEVEL):
        return _control_partition(first, partitions)
    return crc32(first.encode()) % partitions


def partitions_of(topic_filter: str, partitions: int) -> range:
    """The partitions in which a topic can be that ``topic_filter`` matches: one, or all of the clients'."""
    first = topic_filter.partition("/")[0]
    if first in {"+", "#"}:
        return range(partitions)
    only = partition_of(topic_filter, partitions)
    return range(only, only + 1)


def _control_partition(level: str, partitions: int) -> int:
    if level == CONTROL_LEVEL:
        return partitions
    return partitions + 1 + crc32(level.encode()) % (CONTROL_PARTITIONS - 1)
