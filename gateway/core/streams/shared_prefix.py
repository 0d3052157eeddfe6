"""Where two lives of a log part, found by comparing what a node holds of the one with pages of the other.

After a failover a log may begin a new life with most of what it held: a replica was a little behind, an old
copy was put back. Both lives are alike then up to the place where they part, and differ behind it. So the
newest that both may hold are compared first, and older ones, in larger and larger steps, only where nothing
of these is shared. No more than a window holds is ever looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import Page
    from gateway.core.streams.recent import TailWindow

_FIRST_LOOK: Final = 64
"""Publications compared first: a replica that was behind lacks a moment's worth."""

_GROWTH: Final = 8
_PAGE: Final = 1024


class SharedPrefix:
    """Finds the last publication that a window's life of a log shares with a later one.

    The owner reads the page that ``after`` and ``messages`` name and hands it to ``look``, until ``done``.

    Attributes:
        bounds: of the later life.
        shared: the offset of the last publication that is the same in both; None where none is known.
        after: the offset before the page that is needed next.
        done: nothing more needs to be read.
    """

    __slots__ = ("_begin", "_end", "_step", "_window", "after", "bounds", "done", "shared")

    def __init__(self, window: TailWindow, bounds: Bounds) -> None:
        """Compare what ``window`` holds with the life that ``bounds`` tell of."""
        self._window = window
        self.after = self._begin = self._end = 0
        self._begin_with(bounds)

    @property
    def messages(self) -> int:
        """How many publications of the page that is needed next are of use at most."""
        return min(self._end - self.after, _PAGE)

    def look(self, page: Page) -> None:
        """Compare ``page``, which was read behind ``after``."""
        if page.bounds.epoch != self.bounds.epoch:
            # Yet another life has begun meanwhile.
            self._begin_with(page.bounds)
            return
        parted = self._compare(page)
        if not parted and self.after < page.last < self._end:
            self.after = page.last
        elif self.shared is not None:
            self.done = True
        else:
            self._look_before(self._begin)

    def _begin_with(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.shared: int | None = None
        self._step = _FIRST_LOOK
        self._look_before(min(self._window.last, bounds.last))

    def _look_before(self, end: int) -> None:
        oldest = max(self._window.held_after, self.bounds.first - 1)
        self._end = end
        self._begin = self.after = max(oldest, end - self._step)
        self._step *= _GROWTH
        self.done = self.after >= end

    def _compare(self, page: Page) -> bool:
        """Whether the lives part within ``page``; holes in it tell neither way."""
        held = self._window.after(self.after, self._end - self.after) or ()
        for publication in page.publications:
            offset = publication.offset or 0
            at = offset - self.after - 1
            if not 0 <= at < len(held):
                continue
            if not _same(publication, held[at]):
                return True
            self.shared = offset
        return False


def _same(one: Publication, other: Publication) -> bool:
    # The time is the store's: who publishes the same again gets another one.
    return one.id == other.id and one.time == other.time and _content(one) == _content(other)


def _content(publication: Publication) -> tuple[object, ...]:
    return (
        publication.topic,
        publication.data,
        publication.binary,
        publication.deleted,
        publication.content_type,
        publication.headers,
        publication.key,
    )
