"""The newest publications of a log, in memory and found by their offsets; and how many of its oldest must go.

A store that owns the log holds them for its readers, and a node that follows it for those who are a little
late: they are served in one synchronous step, without the store. The oldest go first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.messages.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.core.streams.configuration import StreamConfiguration

_COMPACT_FROM = 64
_GONE = Publication("", "", 0)
_OVERHEAD = 256
"""What a publication costs beside its body, roughly, its frame not counted."""

_FORMER_EPOCHS = 16


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


class Recent:
    """The publications ``first``..``last`` of one log; bounds are its owner's business.

    A list with a growing head: any place is found at once, and what has left is cut off when it is half
    of the list, so that leaving costs little too. A deque would have to walk to its middle.
    """

    __slots__ = ("_head", "_publications", "_sizes", "bytes", "last")

    def __init__(self, last: int = 0) -> None:
        """Begin with nothing, behind offset ``last``."""
        self._publications: list[Publication] = []
        self._sizes: list[int] = []
        self._head = 0
        self.bytes = 0
        self.last = last

    def __len__(self) -> int:
        return len(self._publications) - self._head

    @property
    def first(self) -> int:
        """The oldest offset held; one more than ``last`` where nothing is."""
        return self.last + 1 - len(self)

    def push(self, publication: Publication, size: int) -> None:
        """Add the publication of offset ``last + 1``, whose record has ``size`` bytes."""
        self._publications.append(publication)
        self._sizes.append(size)
        self.bytes += size
        self.last += 1

    def drop(self, count: int) -> None:
        """Let go of the oldest ``count``, or of all."""
        head = self._head
        end = min(head + count, len(self._publications))
        self.bytes -= sum(self._sizes[head:end])
        self._publications[head:end] = [_GONE] * (end - head)
        self._leave(end)

    def bound(self, messages: int, size: int) -> None:
        """Let go of the oldest until no more than ``messages`` and ``size`` bytes are held."""
        first = len(self._publications) - messages
        if self._head >= first and self.bytes <= size:
            return
        publications, sizes = self._publications, self._sizes
        head, left = self._head, self.bytes
        while head < first or left > size:
            left -= sizes[head]
            publications[head] = _GONE
            head += 1
        self.bytes = left
        self._leave(head)

    def after(self, offset: int, messages: int, size: int) -> list[Publication] | None:
        """At most ``messages`` publications behind ``offset``, and about ``size`` bytes, one at least.

        Returns:
            None where the one behind ``offset`` isn't held any more.
        """
        start = len(self._publications) - (self.last - offset)
        if start < self._head:
            return None
        end = start + messages
        if self.bytes > size:
            end = self._within(start, min(end, len(self._publications)), size)
        return self._publications[start:end]

    def oldest(self) -> Iterator[Kept]:
        """What is held, from the oldest on, as retention looks at it."""
        for at in range(self._head, len(self._publications)):
            yield Kept(self._sizes[at], self._publications[at].time)

    def times(self) -> tuple[int, int] | None:
        """The times (ms since 1970) of the oldest and the newest publication held."""
        if not len(self):
            return None
        return self._publications[self._head].time, self._publications[-1].time

    def before(self, time: int) -> int:
        """The offset before the first publication held whose time is ``time`` or later."""
        low, high = self._head, len(self._publications)
        while low < high:
            middle = (low + high) // 2
            if self._publications[middle].time < time:
                low = middle + 1
            else:
                high = middle
        return self.first - 1 + low - self._head

    def _leave(self, head: int) -> None:
        self._head = head
        if head >= _COMPACT_FROM and head * 2 >= len(self._publications):
            del self._publications[:head]
            del self._sizes[:head]
            self._head = 0

    def _within(self, start: int, end: int, size: int) -> int:
        for at in range(start, end):
            size -= self._sizes[at]
            if size <= 0:
                return at + 1 if size == 0 or at == start else at
        return end


class TailWindow:
    """The newest publications of a stream, up to ``last``, as this node's tail gave them to the hub.

    Attributes:
        stream: its name.
        epoch: which life of the log this is.
        first: no offset before this one is kept by the log any more, as far as is known here.
        former: epochs that this window has seen end, a bounded number of the newest.
    """

    __slots__ = ("_messages", "_recent", "_size", "epoch", "first", "former", "stream")

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
        self.former: deque[str] = deque(maxlen=_FORMER_EPOCHS)
        self._messages = messages
        self._size = size
        self._recent = Recent(last)

    def __len__(self) -> int:
        return len(self._recent)

    @property
    def last(self) -> int:
        """The offset of the newest publication; 0 before the first."""
        return self._recent.last

    @property
    def held_after(self) -> int:
        """Everything behind this offset, up to ``last``, is held."""
        return self._recent.first - 1

    def push(self, publication: Publication) -> None:
        """Take the next publication.

        Raises:
            ValueError: its offset is not the one after ``last``.
        """
        recent = self._recent
        if publication.offset != recent.last + 1:
            raise ValueError(f"offset {publication.offset} of {self.stream!r} does not follow {recent.last}")
        size = len(publication.data or publication.binary or b"") + _OVERHEAD
        recent.push(publication, size)
        # The newest is held, however large it is.
        most = self._size if size <= self._size else size  # noqa: FURB136 - max costs a fifth of a push
        recent.bound(self._messages, most)

    def after(self, offset: int, limit: int) -> Sequence[Publication] | None:
        """At most ``limit`` publications that follow ``offset``; None if the first of them isn't held."""
        return self._recent.after(offset, limit, self._recent.bytes)

    def restart(self, epoch: str, last: int, *, first: int) -> None:
        """The log's continuity is lost, or its epoch new: hold nothing, and go on behind ``last``."""
        if epoch != self.epoch:
            self.former.append(self.epoch)
            self.epoch = epoch
        self.first = first
        self._recent = Recent(last)
