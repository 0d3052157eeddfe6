"""Which partition a topic travels in, and which ones a filter has to hear.

A topic's first level decides, so that a filter such as ``orders/#`` is one partition's affair. Every node
must come to the same answer, so the hash is one that neither Python's version nor its seed changes.
"""

from __future__ import annotations

from zlib import crc32


def partition_of(topic: str, partitions: int) -> int:
    """The partition of ``topic``, from 0."""
    return crc32(topic.partition("/")[0].encode()) % partitions


def partitions_of(topic_filter: str, partitions: int) -> range:
    """The partitions in which a topic can be that ``topic_filter`` matches: one, or all of them."""
    first = topic_filter.partition("/")[0]
    if first in {"+", "#"}:
        return range(partitions)
    only = crc32(first.encode()) % partitions
    return range(only, only + 1)
