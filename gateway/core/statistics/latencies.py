"""How long something took, many times a second: counted in buckets, so that percentiles cost next to nothing.

Each bucket reaches 1.19 times as far as the one before (four make a doubling), so what is read out of it is
at most 19 % too much.
"""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORTEST: Final = 1e-5
"""Seconds: what is shorter counts as this."""

_PER_DOUBLING: Final = 4
_BUCKETS: Final = 96
"""The last one begins at some 140 s."""


class Latencies:
    """Counts since the start, by how long it took.

    Attributes:
        counts: of each bucket; grows only.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS

    def note(self, seconds: float) -> None:
        """Something took so long."""
        place = int(log2(seconds / _SHORTEST) * _PER_DOUBLING) + 1 if seconds > _SHORTEST else 0
        self.counts[place if place < _BUCKETS else -1] += 1


def since(before: Sequence[int], now: Sequence[int]) -> list[int]:
    """What was counted between two looks at ``Latencies.counts``."""
    return [later - earlier for earlier, later in zip(before, now, strict=True)]


def percentile(counts: Sequence[int], share: float) -> float | None:
    """The seconds within which ``share`` (above 0, at most 1) of what was counted was done; None of nothing.

    It is the end of the bucket, so never less than the truth.
    """
    total = sum(counts)
    if not total:
        return None
    # Of 100, 0.07 are seven, however that is rounded.
    wanted = max(1, ceil(total * share - 1e-9)) - counts[0]
    place = 0
    while wanted > 0:
        place += 1
        wanted -= counts[place]
    return float(_SHORTEST * 2 ** (place / _PER_DOUBLING))
