"""A run of publications in one wire format: what all connections that get it share."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.messages.encoder import Encoder
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.stream import FollowedStream


class Batch:
    """Publications in acceptance order, and their frames; treat it as frozen.

    Connections that can't be written hold parts of it, told by first and last index, so that keeping or
    dropping many publications costs each of them no more than one.

    Attributes:
        publications: what was accepted.
        frames: each one's frame.
        joined: all frames as one.
        stream: the stream that captured them all, or None: they are live.
        filter: the one subscription that they are for, or None: for every live one that matches.
    """

    __slots__ = ("_ends", "filter", "frames", "joined", "publications", "stream")

    def __init__(
        self,
        publications: Sequence[Publication],
        encoder: Encoder,
        stream: FollowedStream | None = None,
        *,
        topic_filter: str | None = None,
    ) -> None:
        self.publications = publications
        self.stream = stream
        self.filter = topic_filter
        self.frames = (
            [publication.frame(encoder) for publication in publications]
            if topic_filter is None
            else [encoder.encode_history(publication, topic_filter) for publication in publications]
        )
        self.joined = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self._ends: list[int] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def size(self, first: int, last: int) -> int:
        """Bytes of the frames from ``first`` up to, not including, ``last``."""
        ends = self._frame_ends()
        return ends[last] - ends[first]

    def part(self, first: int, last: int) -> bytes:
        """The frames from ``first`` up to, not including, ``last``, as one."""
        if last - first == len(self.frames):
            return self.joined
        return b"".join(self.frames[first:last])

    def reaching(self, first: int, last: int, size: int) -> int:
        """The least index after ``first`` to which there are ``size`` bytes; ``last`` if there are fewer."""
        ends = self._frame_ends()
        return min(last, bisect_left(ends, ends[first] + size, first, last + 1))

    def within(self, first: int, last: int, size: int) -> int:
        """The greatest index up to ``last`` to which there are at most ``size`` bytes from ``first`` on."""
        ends = self._frame_ends()
        return bisect_right(ends, ends[first] + size, first, last + 1) - 1

    def _frame_ends(self) -> list[int]:
        # Only connections that are blocked ask; most runs meet none.
        if self._ends is None:
            self._ends = list(accumulate(map(len, self.frames), initial=0))
        return self._ends
