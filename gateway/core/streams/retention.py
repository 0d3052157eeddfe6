"""How many of a log's oldest publications have to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.streams.configuration import StreamConfiguration


class Kept(NamedTuple):
    """What retention wants to know of a publication: its bytes, and its time in ms since 1970."""

    size: int
    time: int


class Surplus(NamedTuple):
    """The oldest ``messages`` publications, ``size`` bytes together, are more than may be kept."""

    messages: int
    size: int


def surplus(
    limits: StreamConfiguration, oldest: Iterable[Kept], *, messages: int, size: int, now: int
) -> Surplus:
    """What a log of ``messages`` publications and ``size`` bytes must let go at ``now`` (ms since 1970).

    Nothing goes that may stay. The newest publication never goes for count or bytes, only for age: it has
    just been accepted, and those who follow the log must get to see it.

    Args:
        limits: of the stream.
        oldest: its publications, the oldest first; no more of them are taken than go, and one.
        messages: how many there are in all.
        size: their bytes.
        now: the time to reckon ages from.
    """
    oldest_time = now - limits.max_age * 1000
    gone = gone_size = 0
    for each in oldest:
        remaining = messages - gone
        too_many = remaining > limits.max_messages or size - gone_size > limits.max_bytes
        if each.time >= oldest_time and not (too_many and remaining > 1):
            break
        gone += 1
        gone_size += each.size
    return Surplus(gone, gone_size)
