"""How far each subscription of one connection has come, for clients that keep one text and no positions.

A client of ``gateway.v1`` keeps a position for each subscription and stream itself. One that knows nothing
of streams, as a browser's ``EventSource``, gets all of them together with each event; this is what they are
taken from. It follows what the client was told, event by event, in the order of the wire.

Live subscriptions stand at the same place of a stream, since one message serves all of them. Only those that
have yet to catch up, and those that are ahead of what waits for others, stand apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.messages.commands import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class ResumePoint:
    """The positions from which nothing is missing and nothing comes twice.

    Attributes:
        shared: by stream, of all subscriptions that don't stand apart.
        apart: by filter and stream, of those that do.
    """

    __slots__ = ("_awaited", "_replaying", "_snapshots", "apart", "shared")

    def __init__(
        self,
        awaited: Iterable[str] = (),
        *,
        replaying: Iterable[str] = (),
        snapshots: Iterable[str] = (),
    ) -> None:
        """Begin before the first event.

        Args:
            awaited: the filters that will begin.
            replaying: those among them that get history first.
            snapshots: those among these that get last values first, unless they go on where they were.
        """
        self.shared: dict[str, Position] = {}
        self.apart: dict[str, dict[str, Position]] = {}
        self._awaited = set(awaited)
        self._replaying = set(replaying)
        self._snapshots = set(snapshots)

    @property
    def complete(self) -> bool:
        """Whether all subscriptions have begun: who was cut off before comes as if for the first time.

        One that gets last values has not before it has caught up: behind its position is not all that it
        wants.
        """
        return not self._awaited

    def of(self, topic_filter: str) -> dict[str, Position]:
        """The positions of one subscription; of streams that it doesn't meet too."""
        return self.shared | self.apart.get(topic_filter, {})

    def begin(self, topic_filter: str, positions: Mapping[str, Position], *, recovered: bool = False) -> None:
        """``subscribed`` was told; ``recovered``: it goes on where it was."""
        if recovered or topic_filter not in self._snapshots:
            self._awaited.discard(topic_filter)
        if topic_filter in self._replaying:
            self.apart[topic_filter] = dict(positions)
        else:
            self._share(topic_filter, positions)

    def catch_up(self, topic_filter: str) -> None:
        """``caught_up`` was told: what comes from now on is live for this subscription too."""
        self._awaited.discard(topic_filter)
        self._replaying.discard(topic_filter)
        self._share(topic_filter, self.apart.pop(topic_filter, {}))

    def move(self, stream: str, offset: int) -> None:
        """A message was given to every live subscription that it matches."""
        position = self.shared.get(stream)
        if position is None:
            return
        epoch = position.epoch
        if self.apart:
            epoch = self._close_ranks(stream, epoch, offset)
        self.shared[stream] = Position(epoch, offset)

    def move_one(self, topic_filter: str, stream: str, offset: int) -> None:
        """One subscription has had all of a stream up to ``offset``, or has been told that it is gone."""
        position = self._position(topic_filter, stream)
        if position is not None and offset > position.offset:
            self.apart.setdefault(topic_filter, {})[stream] = Position(position.epoch, offset)

    def renew(self, topic_filter: str, stream: str, position: Position) -> None:
        """One subscription was told of a stream's new epoch, and that it reads on behind ``position``."""
        if self._position(topic_filter, stream) is not None:
            self.apart.setdefault(topic_filter, {})[stream] = position

    def _position(self, topic_filter: str, stream: str) -> Position | None:
        return self.apart.get(topic_filter, {}).get(stream) or self.shared.get(stream)

    def _share(self, topic_filter: str, positions: Mapping[str, Position]) -> None:
        ahead = {}
        for stream, position in positions.items():
            shared = self.shared.setdefault(stream, position)
            # Who becomes live has had all that was live before, so what it is behind holds nothing for it.
            if shared.epoch != position.epoch or shared.offset < position.offset:
                ahead[stream] = position
        if ahead:
            self.apart[topic_filter] = ahead

    def _close_ranks(self, stream: str, epoch: str, offset: int) -> str:
        """Have the live subscriptions that a message has reached stand together again; return its epoch."""
        for topic_filter in [each for each in self.apart if each not in self._replaying]:
            positions = self.apart[topic_filter]
            position = positions.get(stream)
            if position is None:
                continue
            # All live subscriptions are told of a new epoch before its first message.
            epoch = position.epoch
            if position.offset <= offset:
                del positions[stream]
                if not positions:
                    del self.apart[topic_filter]
        return epoch
