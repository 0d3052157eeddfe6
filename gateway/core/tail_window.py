"""The newest publications of a stream, as this node's tail has given them to the hub.

Whoever is a little late is served from here in one synchronous step, without the store. What is held is
bounded; the oldest go first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.publication import Publication

_OVERHEAD = 256
"""What a publication costs beside its body, roughly, its frame not counted."""

_FORMER_EPOCHS = 16


class TailWindow:
    """Publications with consecutive offsets up to ``last``, the newest that the hub was given.

    Attributes:
        stream: its name.
        epoch: which life of the log this is.
        first: no offset before this one is kept by the log any more, as far as is known here.
        last: the offset of the newest publication; 0 before the first.
        former: epochs that this window has seen end, a bounded number of the newest.
    """

    __slots__ = (
        "_bytes",
        "_held",
        "_messages",
        "_size",
        "_start",
        "epoch",
        "first",
        "former",
        "last",
        "stream",
    )

    def __init__(
        self,
        stream: str,
        epoch: str,
        last: int,
        *,
        first: int = 1,
        messages: int = 4096,
        size: int = 4 * 1024 * 1024,
    ) -> None:
        """Begin behind offset ``last``; hold at most ``messages`` publications of about ``size`` bytes."""
        self.stream = stream
        self.epoch = epoch
        self.first = first
        self.last = last
        self.former: deque[str] = deque(maxlen=_FORMER_EPOCHS)
        self._messages = messages
        self._size = size
        # A list with a dead front: slices of it are what readers ask for, and a deque has none.
        self._held: list[Publication] = []
        self._start = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held) - self._start

    @property
    def held_after(self) -> int:
        """Everything behind this offset, up to ``last``, is held."""
        return self.last - len(self)

    def push(self, publication: Publication) -> None:
        """Take the next publication.

        Raises:
            ValueError: its offset is not the one after ``last``.
        """
        if publication.offset != self.last + 1:
            raise ValueError(f"offset {publication.offset} of {self.stream!r} does not follow {self.last}")
        self.last += 1
        self._held.append(publication)
        self._bytes += _size(publication)
        while len(self) > self._messages or (self._bytes > self._size and len(self) > 1):
            self._bytes -= _size(self._held[self._start])
            self._start += 1
        # Seldom enough to cost nothing, and soon enough that the dead front stays smaller than the bound.
        if self._start >= 64 and self._start * 2 >= len(self._held):
            del self._held[: self._start]
            self._start = 0

    def after(self, offset: int, limit: int) -> Sequence[Publication] | None:
        """At most ``limit`` publications that follow ``offset``; None if the first of them isn't held."""
        begin = len(self._held) - (self.last - offset)
        if begin < self._start:
            return None
        return self._held[begin : begin + limit]

    def restart(self, epoch: str, last: int, *, first: int) -> None:
        """The log's continuity is lost, or its epoch new: hold nothing, and go on behind ``last``."""
        if epoch != self.epoch:
            self.former.append(self.epoch)
            self.epoch = epoch
        self.first = first
        self.last = last
        self._held = []
        self._start = self._bytes = 0


def _size(publication: Publication) -> int:
    return len(publication.data or publication.binary or b"") + _OVERHEAD
