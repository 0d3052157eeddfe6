"""The newest publications of a log, in memory and found by their offsets; and how many of its oldest must go.

A store that owns the log holds them for its readers, and a node that follows it for those who are a little
late: they are served in one synchronous step, without the store. The oldest go first.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.messages.commands import Position
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
    of the list, so that leaving costs little too. A deque would have to walk to its middle. Where some were
    taken out, places are searched for by offset.

    Attributes:
        first: everything that the log keeps from this offset on is held; one more than ``last`` where nothing
            is, nor was taken out.
        last: the newest offset; 0 before the first.
        bytes: of all that is held.
    """

    __slots__ = ("_head", "_publications", "_sizes", "bytes", "first", "last")

    def __init__(self, last: int = 0) -> None:
        """Begin with nothing, behind offset ``last``."""
        self._publications: list[Publication] = []
        self._sizes: list[int] = []
        self._head = 0
        self.bytes = 0
        self.first = last + 1
        self.last = last

    def __len__(self) -> int:
        return len(self._publications) - self._head

    def push(self, publication: Publication, size: int) -> None:
        """Add the publication of offset ``last + 1``, whose record has ``size`` bytes."""
        self._publications.append(publication)
        self._sizes.append(size)
        self.bytes += size
        self.last += 1

    def drop(self, count: int) -> list[Publication]:
        """Let go of the oldest ``count``, or of all, and of what was taken out before them; return them."""
        head = self._head
        end = min(head + count, len(self._publications))
        dropped = self._publications[head:end]
        if dropped:
            self.bytes -= sum(self._sizes[head:end])
            self._publications[head:end] = [_GONE] * (end - head)
            self.first = _offset(dropped[-1]) + 1
            self._leave(end)
        return dropped

    def drop_before(self, offset: int) -> None:
        """Let go of what is before ``offset``."""
        self.drop(self._place(offset) - self._head)
        self.first = max(self.first, min(offset, self.last + 1))

    def remove(self, offsets: Sequence[int]) -> list[Publication]:
        """Take out those of ``offsets`` (ascending, one at least) that are held; return them.

        It costs a look at all that is held between the first and the last of them.
        """
        begin, end = self._place(offsets[0]), self._place(offsets[-1] + 1)
        gone = frozenset(offsets)
        removed: list[Publication] = []
        kept: list[Publication] = []
        kept_sizes: list[int] = []
        for at in range(begin, end):
            each, size = self._publications[at], self._sizes[at]
            if each.offset in gone:
                removed.append(each)
                self.bytes -= size
            else:
                kept.append(each)
                kept_sizes.append(size)
        self._publications[begin:end] = kept
        self._sizes[begin:end] = kept_sizes
        return removed

    def bound(self, messages: int, size: int) -> None:
        """Let go of the oldest until no more than ``messages`` and ``size`` bytes are held."""
        first = len(self._publications) - messages
        if self._head >= first and self.bytes <= size:
            return
        publications, sizes = self._publications, self._sizes
        head, left = self._head, self.bytes
        last = _GONE
        while head < first or left > size:
            left -= sizes[head]
            last = publications[head]
            publications[head] = _GONE
            head += 1
        self.bytes = left
        # As `_offset` gives it, without its call: this is a part of each push to a full window.
        self.first = last.offset + 1  # type: ignore[operator]
        self._leave(head)

    def cut(self, last: int) -> None:
        """Let go of what lies behind offset ``last``, which is held."""
        end = self._place(last + 1)
        self.bytes -= sum(self._sizes[end:])
        del self._publications[end:]
        del self._sizes[end:]
        self.last = last

    def after(self, offset: int, messages: int, size: int) -> list[Publication] | None:
        """At most ``messages`` publications behind ``offset``, and about ``size`` bytes, one at least.

        Returns:
            None where the one behind ``offset`` isn't held any more.
        """
        first, publications = self.first, self._publications
        if offset + 1 < first:
            return None
        start = len(publications) - (self.last - offset)
        if self.last + 1 - first != len(publications) - self._head:
            start = self._place(offset + 1)
        end = start + messages
        if self.bytes > size:
            end = self._within(start, min(end, len(publications)), size)
        return publications[start:end]

    def get(self, offset: int) -> tuple[Publication, int]:
        """The publication of an offset that is held, and the bytes of its record."""
        at = self._place(offset)
        return self._publications[at], self._sizes[at]

    def find(self, offset: int) -> Publication | None:
        """The publication of an offset, where it is held."""
        at = self._place(offset)
        found = self._publications[at] if self._head <= at < len(self._publications) else None
        return found if found is not None and found.offset == offset else None

    def held_before(self, offset: int) -> int:
        """How many of those that are held have smaller offsets."""
        return self._place(offset) - self._head

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
        return self.last if low == len(self._publications) else _offset(self._publications[low]) - 1

    def _place(self, offset: int) -> int:
        """Where the first publication held stands that has ``offset`` or a larger one."""
        publications, head = self._publications, self._head
        if self.last + 1 - self.first == len(publications) - head:
            return min(max(head, head + offset - self.first), len(publications))
        return bisect_left(publications, offset, head, key=_offset)

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


def _offset(publication: Publication) -> int:
    assert publication.offset is not None, "a log numbers what it holds"
    return publication.offset


class TailWindow:
    """The newest publications of a stream, up to ``last``, as this node's tail gave them to the hub.

    Attributes:
        stream: its name.
        epoch: which life of the log this is.
        first: no offset before this one is kept by the log any more, as far as is known here.
        former: epochs that this window has seen end, a bounded number of the newest, each with the last
            offset at which that life and this one hold the same; None where nobody knows.
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
        self.former: dict[str, int | None] = {}
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

    def forget(self) -> None:
        """Hold nothing: something of it was removed from the log on purpose."""
        self._recent = Recent(self.last)

    def goes_on(self, position: Position) -> Position:
        """Where whoever has had all up to ``position``, of a former life, goes on in this one.

        Behind what it has had and both lives hold; before the first that there is where nobody knows.
        """
        shared = self.former[position.epoch]
        return Position(self.epoch, self.first - 1 if shared is None else min(position.offset, shared))

    def restart(self, epoch: str, last: int, *, first: int) -> None:
        """The log's continuity is lost, or its epoch new: hold nothing, and go on behind ``last``."""
        if epoch != self.epoch:
            self._end_epoch(epoch, None)
        self.first = first
        self._recent = Recent(last)

    def part(self, epoch: str, shared: int, *, first: int) -> None:
        """The log has begun ``epoch``, which has what is held up to offset ``shared``: go on behind that."""
        self._end_epoch(epoch, shared)
        self.first = first
        self._recent.cut(shared)

    def _end_epoch(self, epoch: str, shared: int | None) -> None:
        former = self.former
        for each, before in former.items():
            former[each] = None if before is None or shared is None else min(before, shared)
        former[self.epoch] = shared
        former.pop(epoch, None)
        if len(former) > _FORMER_EPOCHS:
            del former[next(iter(former))]
        self.epoch = epoch
