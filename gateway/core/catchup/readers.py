"""Readers that go on from where a subscription begins in its streams until they are level.

A subscription that asked for history and a connection that could not take all that its streams brought are
the same thing: positions, one per stream, that move on through what the tails' windows hold, or else through
pages of the store, until they are the tails' own. Nothing is held meanwhile, and every step is bounded.

The owner asks ``step`` what comes next. It writes the frames, reads the page that is needed and hands it to
``take``, and where streams are level has the hub join them, all without waiting in between.

What a subscription gets as of one moment, before the log goes on behind it, is a phase of its reader: pages
of another kind, with a place of their own, and no joining until they are through.

Spec: docs/protocol.md, "Streams".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.core.catchup.page_choice import (
    Matching,
    PageChoice,
    PageRequest,
    Phase,
    SnapshotSource,
)
from gateway.core.catchup.start import epoch_gap, missing_gap
from gateway.core.messages.commands import Position
from gateway.core.streams.pages import TRIMMED, Hole, SelectedPage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from gateway.core.catchup.page_choice import PhaseSource
    from gateway.core.messages.encoder import Encoder
    from gateway.core.messages.events import Gap
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import FollowedStream

SCANNED = 512
"""Publications looked at per step and stream, wanted or not."""


@dataclass(slots=True)
class Step:
    """What a reader's step came to.

    Attributes:
        frames: to be written now, in order.
        needed: the page that must be read from the store, or None.
        level: streams in which the reader stands where the tail does.
    """

    frames: list[bytes] = field(default_factory=list)
    needed: PageRequest | None = None
    level: list[FollowedStream] = field(default_factory=list)


class Reader:
    """One who is behind in some streams; its owner knows for which connection.

    Attributes:
        encoder: the wire format of its frames.
        positions: where it reads the log on, by stream; the stream served longest ago is first.
        phases: what it gets before that, by stream, where it has not had that yet.
        ended: nobody wants it any more.
        delays: how often in a row it has had to wait for a tail to move.
    """

    __slots__ = ("_choice", "_settled", "delays", "encoder", "ended", "phases", "positions")

    def __init__(
        self,
        encoder: Encoder,
        positions: Mapping[FollowedStream, Position],
        phases: Mapping[FollowedStream, PhaseSource] | None = None,
    ) -> None:
        self.encoder = encoder
        self.positions = dict(positions)
        self.phases: dict[FollowedStream, Phase] = {}
        for stream, source in (phases or {}).items():
            begin = self.positions[stream]
            self.positions[stream] = Position(begin.epoch, source.through)
            # Last values may be older than all that the log holds.
            self.phases[stream] = Phase(source, 0 if isinstance(source, SnapshotSource) else begin.offset)
        self.ended = False
        self.delays = 0
        self._choice: PageChoice | None = None
        # By stream, up to where last values were told: a value that was replaced before its page was read is
        # missing until its successor comes, so nobody is level before that.
        self._settled: dict[FollowedStream, int] = {}

    def step(self, room: int) -> Step:
        """Go on with what the windows hold, up to about ``room`` bytes, and say what comes next."""
        step = Step()
        # A copy: a stream that is served moves to the end, so that each is the first one in its turn and a
        # busy stream can't use all the room for ever.
        for stream in tuple(self.positions):
            window = stream.tail
            # The tail knows that this life of the stream is over, and how much of it goes on.
            if self.positions[stream].epoch in window.former:
                self._begin_epoch(stream, window.goes_on(self._had(stream)), step.frames)
            if stream in self.phases:
                step.needed = step.needed or self._request(stream)
                continue
            position = self.positions[stream]
            held = window.after(position.offset, SCANNED) if position.epoch == window.epoch else None
            # The log itself has let this go: there is no page to wait for.
            if held is None and position.epoch == window.epoch and position.offset + 1 < window.first:
                self._skip(stream, min(window.first - 1, window.last), step.frames)
                position = self.positions[stream]
                held = window.after(position.offset, SCANNED)
            if held is None:
                step.needed = step.needed or self._request(stream)
            elif held and room > 0:
                room -= self._deliver(stream, held, room, step.frames)
            # Asked last: what was given just now may have brought it there, in time for the tail.
            if self._is_level(stream):
                step.level.append(stream)
        return step

    def take(self, request: PageRequest, page: Page | SelectedPage | None, room: int) -> list[bytes] | None:
        """Go on with a page of the store that begins at the reader's place or before it.

        Args:
            request: as a step gave it.
            page: what there is; None where the store can't tell in that way.
            room: about how many bytes may be written.

        Returns:
            Frames to be written; None if the page brought nothing: the tail has to move first.
        """
        frames: list[bytes] = []
        stream = request.stream
        if stream not in self.positions or not self._is_wanted(request):
            return frames
        if page is None:
            self._go_without_index(stream)
            return frames
        before, window, bounds = self._standing(stream), stream.tail, page.bounds
        # A page may be younger than the window or older, since both were read at their own time. Where they
        # differ in epoch the tail has to come to the page's first: two lives must not be mixed, and the tail
        # finds out where they part.
        if bounds.epoch == window.epoch:
            if (had := self._had(stream)).epoch != bounds.epoch:
                first = Position(bounds.epoch, bounds.first - 1)
                self._begin_epoch(
                    stream, window.goes_on(had) if had.epoch in window.former else first, frames
                )
                if isinstance(page, SelectedPage):
                    # Selected behind a place that means nothing in this life of the stream.
                    return frames
            phase = self.phases.get(stream)
            # What the tail has yet to give is the live path's, to be joined first; not so in a phase, which
            # ends at a place of its own, where the reader waits for the tail.
            until = window.last if phase is None else phase.source.through
            if phase is None and bounds.first - 1 > until:
                # The log has let go of more than the tail has come to, which has to tell of that first.
                return frames or None
            if not _is_beyond_retention(phase):
                self._skip(stream, min(bounds.first - 1, until), frames)
            if isinstance(page, SelectedPage):
                self._take_selected(request, page, until, room, frames)
            else:
                self._take_shared(stream, page, until, room, frames)
        return frames if frames or self._standing(stream) != before else None

    def _take_shared(
        self, stream: FollowedStream, page: Page, until: int, room: int, frames: list[bytes]
    ) -> None:
        offset = self.positions[stream].offset
        following = page.behind(offset, until)
        if isinstance(following, Hole):
            self._skip(stream, following.last, frames, following.reason)
        elif following:
            told = len(frames)
            self._deliver(stream, following[:SCANNED], room, frames)
            passed = self.positions[stream].offset - offset
            self._chosen().count(stream, None, passed=passed, wanted=len(frames) - told)

    def _take_selected(
        self, request: PageRequest, page: SelectedPage, until: int, room: int, frames: list[bytes]
    ) -> None:
        stream, wanted, until = request.stream, 0, min(until, page.through)
        begin = self._place(stream)
        while room > 0 and self._place(stream) < until:
            following = page.behind(self._place(stream), until)
            if isinstance(following, Hole):
                self._skip(stream, following.last, frames, following.reason)
                continue
            told = len(frames)
            room -= self._deliver(stream, following.publications, room, frames, through=following.through)
            wanted += len(frames) - told
        passed = self._place(stream) - begin
        if isinstance(request.source, SnapshotSource):
            self._settled[stream] = max(page.bounds.last, self._settled.get(stream, 0))
        elif isinstance(request.source, Matching) and passed:
            self._chosen().count(stream, request.source, passed=passed, wanted=wanted)

    def _request(self, stream: FollowedStream) -> PageRequest:
        epoch, offset = self.positions[stream].epoch, self.positions[stream].offset
        if (phase := self.phases.get(stream)) is not None:
            return PageRequest(stream, epoch, phase.after, phase.source)
        return PageRequest(stream, epoch, offset, self._chosen().source(stream, self._filters(stream)))

    def _chosen(self) -> PageChoice:
        if self._choice is None:
            self._choice = PageChoice()
        return self._choice

    def _is_wanted(self, request: PageRequest) -> bool:
        """Whether a page tells of all that is wanted now, of which a shared one is asked itself."""
        if request.source is None:
            return True
        # What was asked of the log is none of a snapshot, which a new epoch may have begun meanwhile.
        if isinstance(request.source, Matching) is not (request.stream not in self.phases):
            return False
        # While it was read a connection may have subscribed to more, or gone back to before what it let go.
        more = isinstance(request.source, Matching) and not set(request.source.filters).issuperset(
            self._filters(request.stream)
        )
        return not more and request.after <= self._place(request.stream)

    def _go_without_index(self, stream: FollowedStream) -> None:
        phase = self.phases.pop(stream, None)
        if phase is None:
            self._chosen().refuse(stream)
        else:
            # More than was asked for, and nothing of it less.
            self.positions[stream] = Position(self.positions[stream].epoch, phase.after)

    def _is_level(self, stream: FollowedStream) -> bool:
        position, window = self.positions[stream], stream.tail
        settled = self._settled.get(stream, 0)
        return position.epoch == window.epoch and position.offset == window.last >= settled

    def _place(self, stream: FollowedStream) -> int:
        """The last offset already had: of the phase, or of the log."""
        phase = self.phases.get(stream)
        return self.positions[stream].offset if phase is None else phase.after

    def _had(self, stream: FollowedStream) -> Position:
        """The same with its epoch: all that is wanted up to there was given."""
        return Position(self.positions[stream].epoch, self._place(stream))

    def _standing(self, stream: FollowedStream) -> tuple[Position, int]:
        return self.positions[stream], self._place(stream)

    def _move(self, stream: FollowedStream, offset: int) -> None:
        # Taken out first, so that it goes to the end.
        position = self.positions.pop(stream)
        self.positions[stream] = position
        phase = self.phases.get(stream)
        if phase is None:
            self.positions[stream] = Position(position.epoch, offset)
        elif offset < phase.source.through:
            phase.after = offset
        else:
            del self.phases[stream]

    def _deliver(
        self,
        stream: FollowedStream,
        publications: Sequence[Publication],
        room: int,
        frames: list[bytes],
        *,
        through: int = 0,
    ) -> int:
        """Take over what is wanted of ``publications``; go behind them, or ``through``; return the bytes."""
        wanted, encode = self._picker(stream), self._encode(stream)
        given, offset = 0, 0
        for publication in publications:
            offset = publication.offset or 0
            if wanted is None or wanted(publication.topic):
                frame = encode(publication)
                frames.append(frame)
                given += len(frame)
                if given >= room:
                    break
        else:
            offset = max(offset, through)
        # Past what nobody wanted too: it is not looked at again.
        self._move(stream, offset)
        return given

    def _skip(self, stream: FollowedStream, to: int, frames: list[bytes], reason: str = TRIMMED) -> None:
        first = self._place(stream) + 1
        if to < first:
            return
        self._move(stream, to)
        self._tell((missing_gap(each, stream, first, to, reason) for each in self._filters(stream)), frames)

    def _begin_epoch(self, stream: FollowedStream, position: Position, frames: list[bytes]) -> None:
        self.phases.pop(stream, None)
        self._settled.pop(stream, None)
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

    def _encode(self, stream: FollowedStream) -> Callable[[Publication], bytes]:
        """What makes the frames of what it gets of a stream now."""
        raise NotImplementedError


class HistoryReader(Reader):
    """Reads for one subscription that asked for history; its frames bear its filter.

    Attributes:
        filter: the subscription's.
    """

    __slots__ = ("_snapshots", "filter")

    def __init__(
        self,
        encoder: Encoder,
        topic_filter: str,
        positions: Mapping[FollowedStream, Position],
        phases: Mapping[FollowedStream, PhaseSource] | None = None,
        snapshots: Collection[FollowedStream] = (),
    ) -> None:
        """Begin at ``positions``, or with ``phases``; of ``snapshots`` it gets last values, in each life."""
        super().__init__(encoder, positions, phases)
        self.filter = topic_filter
        self._snapshots = frozenset(snapshots)

    def _filters(self, stream: FollowedStream) -> tuple[str, ...]:  # noqa: ARG002 - all of its streams have the one
        return (self.filter,)

    def _picker(self, stream: FollowedStream) -> Callable[[str], bool] | None:
        selection = stream.selection(self.filter)
        return None if selection.everything else selection.picks

    def _encode(self, stream: FollowedStream) -> Callable[[Publication], bytes]:
        phase, topic_filter = self.phases.get(stream), self.filter
        snapshot = phase is not None and isinstance(phase.source, SnapshotSource)
        encode = self.encoder.encode_snapshot if snapshot else self.encoder.encode_history
        return lambda publication: encode(publication, topic_filter)

    def _begin_epoch(self, stream: FollowedStream, position: Position, frames: list[bytes]) -> None:
        if stream not in self._snapshots:
            super()._begin_epoch(stream, position, frames)
            return
        # The last values of a life that is over are none; the new one's may be older than its log.
        last = stream.tail.last
        super()._begin_epoch(stream, Position(position.epoch, last), frames)
        if last:
            self.phases[stream] = Phase(SnapshotSource(self.filter, last))


def _is_beyond_retention(phase: Phase | None) -> bool:
    """Whether what it gives is kept, though the log has let go of its offset."""
    return phase is not None and isinstance(phase.source, SnapshotSource)
