"""The newest publications of a stream, as this node's tail has given them to the hub.

Whoever is a little late is served from here in one synchronous step, without the store. What is held is
bounded; the oldest go first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.core.streams.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.messages.publication import Publication

_OVERHEAD = 256
"""What a publication costs beside its body, roughly, its frame not counted."""

_FORMER_EPOCHS = 16


class TailWindow:
    """Publications with consecutive offsets up to ``last``, the newest that the hub was given.

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
