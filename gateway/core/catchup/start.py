"""Where a subscription begins in its streams, and what it is told that it can't have.

Spec: docs/protocol.md, "Streams".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.catchup.page_choice import NewestByTopic, SnapshotSource
from gateway.core.messages.commands import Position, Start, StartKind
from gateway.core.messages.events import Gap
from gateway.core.streams.pages import TRIMMED
from gateway.core.topics.grammar import covers

if TYPE_CHECKING:
    from gateway.core.catchup.page_choice import PhaseSource
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import SelectedPage
    from gateway.core.streams.stream import FollowedStream


def missing_gap(
    topic_filter: str, stream: FollowedStream, first: int, last: int, reason: str = TRIMMED
) -> Gap:
    """Tells that the offsets ``first`` to ``last`` of a stream can't be had, and why."""
    # Offsets that other topics bear are missing too: only who wants them all knows how many are lost.
    dropped = last - first + 1 if covers(topic_filter, stream.filter) else None
    return Gap(reason, filter=topic_filter, dropped=dropped, stream=stream.name, first=first, last=last)


def epoch_gap(topic_filter: str, stream: FollowedStream, position: Position) -> Gap:
    """Tells that a stream has begun a new life, and behind which ``position`` in it reading goes on."""
    return Gap("epoch", topic_filter, stream=stream.name, epoch=position.epoch, offset=position.offset)


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where a subscription begins in one stream.

    Attributes:
        position: the last offset before what it will get.
        recovered: everything that was asked for can be had.
        gap: what can't.
        phase: what comes before the log, which is read on behind it.
    """

    position: Position
    recovered: bool = True
    gap: Gap | None = None
    phase: PhaseSource | None = None


def resume_at(topic_filter: str, stream: FollowedStream, wanted: Position, bounds: Bounds) -> StartPosition:
    """The beginning of a subscription that has had everything up to ``wanted``."""
    before_first = Position(bounds.epoch, bounds.first - 1)
    if wanted.epoch != bounds.epoch or wanted.offset > bounds.last:
        return StartPosition(before_first, recovered=False, gap=epoch_gap(topic_filter, stream, before_first))
    if wanted.offset < before_first.offset:
        missing = missing_gap(topic_filter, stream, wanted.offset + 1, before_first.offset)
        return StartPosition(before_first, recovered=False, gap=missing)
    return StartPosition(wanted)


def from_bounds(
    topic_filter: str, stream: FollowedStream, start: Start, bounds: Bounds, before: int | None = None
) -> StartPosition:
    """The beginning of a subscription that names no position.

    Args:
        topic_filter: the subscription's.
        stream: the stream.
        start: what it asked for.
        bounds: of the log.
        before: for a time or a count, the offset that the store gives for it.
    """
    before_first, last = bounds.first - 1, bounds.last
    gap = None
    match start.kind:
        case StartKind.NEW:
            offset = last
        case StartKind.EARLIEST:
            offset = before_first
        case StartKind.OFFSET:
            if start.value <= before_first:
                gap = missing_gap(topic_filter, stream, start.value, before_first)
            offset = max(start.value - 1, before_first)
        case StartKind.TIME:
            offset = max(before_first if before is None else before, before_first)
        case StartKind.LAST | StartKind.LAST_PER_TOPIC:
            # Counted after the bounds were read: it may lie behind what was the end then.
            return StartPosition(Position(bounds.epoch, before_first if before is None else before))
    return StartPosition(Position(bounds.epoch, min(offset, last)), gap=gap)


def from_newest(topic_filter: str, count: int, page: SelectedPage) -> StartPosition:
    """The beginning of a subscription that gets each topic's newest; ``page`` has the first of them."""
    bounds = page.bounds
    if not page.publications:
        return StartPosition(Position(bounds.epoch, bounds.last))
    # Who is cut off meanwhile goes on with everything from there: more than it asked for, and all of it.
    before = Position(bounds.epoch, (page.publications[0].offset or 0) - 1)
    return StartPosition(before, phase=NewestByTopic(topic_filter, count, bounds.last))


def from_snapshot(topic_filter: str, stream: FollowedStream, found: StartPosition) -> StartPosition:
    """The beginning of a subscription that gets last values, as of where the tail is.

    Args:
        topic_filter: the subscription's.
        stream: one with last values.
        found: where it would have begun, and what it is told.
    """
    window = stream.tail
    position, gap = Position(window.epoch, window.last), found.gap
    if gap is not None and (gap.reason == "epoch" or found.position.epoch != position.epoch):
        # A gap moves who is told of it: to where the values are as of, not to the log that is left out.
        gap = epoch_gap(topic_filter, stream, position)
    phase = SnapshotSource(topic_filter, window.last) if window.last else None
    return StartPosition(position, found.recovered, gap, phase)
