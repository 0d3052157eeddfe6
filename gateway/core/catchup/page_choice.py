"""Which page of the store a reader gets next.

All who read everything of a stream share its pages; who wants little of it has the store's index of topics
select that, at the price of what is found. Nobody can tell from a filter how much it matches, so the pages
themselves do: much of what one passed, and the next one is shared; next to nothing, and it is selected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from gateway.core.topics.grammar import covers

if TYPE_CHECKING:
    from gateway.core.streams.stream import FollowedStream

SHARED_FROM: Final = 4
"""A selected page that holds more than one in so many of the offsets that it passed is the last one."""

SELECTED_FROM: Final = 16
"""A shared page of which less than one in so many was wanted is the last one."""

SHARED_AFTER_REFUSAL: Final = 32
"""Shared pages, where the index could not tell, before it is asked again."""

_SELECT: Final = -1


class Captures(Protocol):
    """A stream, by the topics that it captures; what is the same hashes the same."""

    @property
    def filter(self) -> str:
        """The topics."""
        ...


@dataclass(frozen=True, slots=True)
class Matching:
    """What matches one of ``filters``, by the index of topics."""

    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewestByTopic:
    """Each matching topic's newest ``count`` publications, as of offset ``through``."""

    filter: str
    count: int
    through: int


@dataclass(frozen=True, slots=True)
class SnapshotSource:
    """The last values of the topics that match, as of offset ``through``."""

    filter: str
    through: int


PhaseSource: TypeAlias = NewestByTopic | SnapshotSource
PageSource: TypeAlias = Matching | PhaseSource | None
"""None: everything, in pages that all readers share."""


@dataclass(slots=True)
class Phase:
    """What a reader gets of a stream first: something as of one offset, behind which it reads the log.

    Attributes:
        source: has the pages.
        after: the last offset of it already had.
    """

    source: PhaseSource
    after: int = 0


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page that somebody needs; what is equal is read once.

    Attributes:
        stream: of which.
        epoch: the life of it that the reader is in.
        after: the offset before the page.
        source: what of the stream.
    """

    stream: FollowedStream
    epoch: str
    after: int
    source: PageSource = None


class PageChoice:
    """One reader's choice for each of its streams."""

    __slots__ = ("_shared",)

    def __init__(self) -> None:
        # `_SELECT`, or how many more pages are shared whatever they hold.
        self._shared: dict[Captures, int] = {}

    def source(self, stream: Captures, filters: tuple[str, ...]) -> Matching | None:
        """Where the next page comes from, for a reader that wants what ``filters`` match."""
        if stream not in self._shared:
            # What a stream captures is what it mostly holds: no page needs to show that.
            whole = any(covers(each, stream.filter) for each in filters)
            self._shared[stream] = 0 if whole else _SELECT
        select = self._shared[stream] == _SELECT and "#" not in filters
        return Matching(filters) if select else None

    def count(self, stream: Captures, source: Matching | None, *, passed: int, wanted: int) -> None:
        """A page from ``source`` has led past so many offsets, of which so many were wanted."""
        if source is not None:
            if wanted * SHARED_FROM > passed:
                self._shared[stream] = 0
        elif (more := self._shared.get(stream, 0)) > 0:
            self._shared[stream] = more - 1
        elif wanted * SELECTED_FROM < passed:
            self._shared[stream] = _SELECT

    def refuse(self, stream: Captures) -> None:
        """The index can't tell what matches."""
        self._shared[stream] = SHARED_AFTER_REFUSAL
