"""Where a subscription begins in its streams, and readers that go on from there until they are level.

A subscription that asked for history and a connection that could not take all that its streams brought are
the same thing: positions, one per stream, that move on through what the tails' windows hold, or else through
pages of the store, until they are the tails' own. Nothing is held meanwhile, and every step is bounded.

The owner asks ``step`` what comes next. It writes the frames, reads the page that is needed and hands it to
``take``, and where streams are level has the hub join them, all without waiting in between.

Spec: docs/protocol.md, "Streams".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.core.messages.commands import Position, Start, StartKind
from gateway.core.messages.events import Gap
from gateway.core.streams.pages import TRIMMED, Hole
from gateway.core.topics.grammar import covers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.core.messages.encoder import Encoder
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import FollowedStream

SCANNED = 512
"""Publications looked at per step and stream, wanted or not."""


@dataclass(slots=True)
class Step:
    """What a reader's step came to.

    Attributes:
        frames: to be written now, in order.
        needed: the page that must be read from the store, by stream and the offset before it, or None.
        level: streams in which the reader stands where the tail does.
    """

    frames: list[bytes] = field(default_factory=list)
    needed: tuple[FollowedStream, int] | None = None
    level: list[FollowedStream] = field(default_factory=list)


class Reader:
    """One who is behind in some streams; its owner knows for which connection.

    Attributes:
        encoder: the wire format of its frames.
        positions: where it stands, by stream; the stream served longest ago is first.
        ended: nobody wants it any more.
        delays: how often in a row it has had to wait for a tail to move.
    """

    __slots__ = ("delays", "encoder", "ended", "positions")

    def __init__(self, encoder: Encoder, positions: Mapping[FollowedStream, Position]) -> None:
        self.encoder = encoder
        self.positions = dict(positions)
        self.ended = False
        self.delays = 0

    def step(self, room: int) -> Step:
        """Go on with what the windows hold, up to about ``room`` bytes, and say what comes next."""
        step = Step()
        # A copy: a stream that is served moves to the end, so that each is the first one in its turn and a
        # busy stream can't use all the room for ever.
        for stream in tuple(self.positions):
            window = stream.tail
            # The tail knows that this life of the stream is over, and how much of it goes on.
            if self.positions[stream].epoch in window.former:
                self._begin_epoch(stream, window.goes_on(self.positions[stream]), step.frames)
            position = self.positions[stream]
            held = window.after(position.offset, SCANNED) if position.epoch == window.epoch else None
            # The log itself has let this go: there is no page to wait for.
            if held is None and position.epoch == window.epoch and position.offset + 1 < window.first:
                self._skip(stream, min(window.first - 1, window.last), step.frames)
                position = self.positions[stream]
                held = window.after(position.offset, SCANNED)
            if held is None:
                step.needed = step.needed or (stream, position.offset)
            elif held and room > 0:
                room -= self._deliver(stream, held, room, step.frames)
            # Asked last: what was given just now may have brought it there, in time for the tail.
            if self._is_level(stream):
                step.level.append(stream)
        return step

    def take(self, stream: FollowedStream, page: Page, room: int) -> list[bytes] | None:
        """Go on with a page of the store that begins at the reader's position or before it.

        Returns:
            Frames to be written, up to about ``room`` bytes; None if the page brought nothing: the
            tail has to move first.
        """
        frames: list[bytes] = []
        if stream not in self.positions:
            return frames
        before, window, bounds = self.positions[stream], stream.tail, page.bounds
        # A page may be younger than the window or older, since both were read at their own time. Where they
        # differ in epoch the tail has to come to the page's first: two lives must not be mixed, and the tail
        # finds out where they part.
        if bounds.epoch == window.epoch:
            if before.epoch in window.former:
                self._begin_epoch(stream, window.goes_on(before), frames)
            elif before.epoch != bounds.epoch:
                self._begin_epoch(stream, Position(bounds.epoch, bounds.first - 1), frames)
            if self.positions[stream].offset + 1 < bounds.first and bounds.first - 1 <= window.last:
                self._skip(stream, bounds.first - 1, frames)
            # What the tail has yet to give is the live path's, to be joined first.
            following = page.behind(self.positions[stream].offset, window.last)
            if isinstance(following, Hole):
                self._skip(stream, following.last, frames, following.reason)
            elif following:
                self._deliver(stream, following[:SCANNED], room, frames)
        return frames if frames or self.positions[stream] != before else None

    def _is_level(self, stream: FollowedStream) -> bool:
        position, window = self.positions[stream], stream.tail
        return position.epoch == window.epoch and position.offset == window.last

    def _deliver(
        self, stream: FollowedStream, publications: Sequence[Publication], room: int, frames: list[bytes]
    ) -> int:
        """Take over what is wanted of ``publications``; return the bytes."""
        wanted = self._picker(stream)
        given, offset = 0, 0
        for publication in publications:
            offset = publication.offset or 0
            if wanted is None or wanted(publication.topic):
                frame = self._frame(publication)
                frames.append(frame)
                given += len(frame)
                if given >= room:
                    break
        # Past what nobody wanted too: it is not looked at again. Taken out first, so that it goes to the end.
        epoch = self.positions.pop(stream).epoch
        self.positions[stream] = Position(epoch, offset)
        return given

    def _skip(self, stream: FollowedStream, to: int, frames: list[bytes], reason: str = TRIMMED) -> None:
        position = self.positions[stream]
        first = position.offset + 1
        if to < first:
            return
        self.positions[stream] = Position(position.epoch, to)
        self._tell((missing_gap(each, stream, first, to, reason) for each in self._filters(stream)), frames)

    def _begin_epoch(self, stream: FollowedStream, position: Position, frames: list[bytes]) -> None:
        self.positions[stream] = position
        self._tell((epoch_gap(each, stream, position) for each in self._filters(stream)), frames)

    def _tell(self, gaps: Iterable[Gap], frames: list[bytes]) -> None:
        frames.extend(map(self.encoder.encode, gaps))

    def _filters(self, stream: FollowedStream) -> tuple[str, ...]:
        """For whom it reads: what they want of a stream, and who is told what is missing."""
        raise NotImplementedError

    def _picker(self, stream: FollowedStream) -> Callable[[str], bool] | None:
        """Which topics of a stream are wanted; None: all."""
        raise NotImplementedError

    def _frame(self, publication: Publication) -> bytes:
        raise NotImplementedError


class HistoryReader(Reader):
    """Reads for one subscription that asked for history; its frames bear its filter.

    Attributes:
        filter: the subscription's.
    """

    __slots__ = ("filter",)

    def __init__(
        self, encoder: Encoder, topic_filter: str, positions: Mapping[FollowedStream, Position]
    ) -> None:
        super().__init__(encoder, positions)
        self.filter = topic_filter

    def _filters(self, stream: FollowedStream) -> tuple[str, ...]:  # noqa: ARG002 - all of its streams have the one
        return (self.filter,)

    def _picker(self, stream: FollowedStream) -> Callable[[str], bool] | None:
        selection = stream.selection(self.filter)
        return None if selection.everything else selection.picks

    def _frame(self, publication: Publication) -> bytes:
        return self.encoder.encode_history(publication, self.filter)


class SpillReader(Reader):
    """Reads for all live subscriptions of a connection at once, in the streams that have overflowed."""

    __slots__ = ("_filters_of", "_picker_of", "_wanted")

    def __init__(
        self,
        encoder: Encoder,
        *,
        filters_of: Callable[[FollowedStream], tuple[str, ...]],
        picker_of: Callable[[FollowedStream], Callable[[str], bool]],
    ) -> None:
        """Begin with no stream.

        Args:
            encoder: the connection's.
            filters_of: its live filters that may match something of a stream.
            picker_of: what says whether one of them matches a topic of a stream.
        """
        super().__init__(encoder, {})
        self._filters_of = filters_of
        self._picker_of = picker_of
        self._wanted: dict[FollowedStream, tuple[str, ...]] = {}

    def subscriptions_changed(self) -> None:
        """The connection has other live subscriptions now."""
        # Only gaps ask for the filters, one by one: so they are remembered.
        self._wanted.clear()

    def _filters(self, stream: FollowedStream) -> tuple[str, ...]:
        wanted = self._wanted.get(stream)
        if wanted is None:
            wanted = self._wanted[stream] = self._filters_of(stream)
        return wanted

    def _picker(self, stream: FollowedStream) -> Callable[[str], bool]:
        return self._picker_of(stream)

    def _frame(self, publication: Publication) -> bytes:
        return publication.frame(self.encoder)


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
