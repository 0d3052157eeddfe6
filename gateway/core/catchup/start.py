"""Where a subscription begins in a stream: what ``resume`` and ``from`` mean there.

Spec: docs/protocol.md, "History".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.catchup.readers import epoch_gap, missing_gap
from gateway.core.messages.commands import Position, Start, StartKind

if TYPE_CHECKING:
    from gateway.core.messages.events import Gap
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.stream import FollowedStream


@dataclass(frozen=True, slots=True)
class StartPosition:
    """Where a subscription begins in one stream.

    Attributes:
        position: the last offset before what it will get.
        recovered: everything that was asked for can be had.
        gap: what can't.
    """

    position: Position
    recovered: bool = True
    gap: Gap | None = None


def from_window(stream: FollowedStream, asked: Position | Start) -> StartPosition | None:
    """The beginning, where the tail's window shows it; None where the store must be asked."""
    window = stream.tail
    match asked:
        case Position(epoch, offset) if epoch == window.epoch and window.held_after <= offset <= window.last:
            return StartPosition(asked)
        case Start(StartKind.NEW):
            return StartPosition(Position(window.epoch, window.last))
        case Start(StartKind.LAST, count) if window.last - count >= window.held_after:
            return StartPosition(Position(window.epoch, window.last - count))
        case _:
            return None


def resume_at(topic_filter: str, stream: FollowedStream, wanted: Position, bounds: Bounds) -> StartPosition:
    """The beginning of a subscription that has had everything up to ``wanted``."""
    before_first = Position(bounds.epoch, bounds.first - 1)
    if wanted.epoch != bounds.epoch or wanted.offset > bounds.last:
        return StartPosition(before_first, recovered=False, gap=epoch_gap(topic_filter, stream, bounds.epoch))
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
        before: for a time, the offset that the store gives for it.
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
        case StartKind.LAST:
            offset = max(last - start.value, before_first)
    return StartPosition(Position(bounds.epoch, min(offset, last)), gap=gap)
