"""Where a subscription begins in the streams it matches, and where it is by now.

Two places keep count. A route counts what was *received*, which a reconnect resumes behind. A mailbox counts
what its loop has *taken*, which is what a program may keep: after a crash nothing is skipped that it had not
seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from gateway.core.messages.commands import MOST_PER_TOPIC, START_NEW, Position, Start, StartKind

if TYPE_CHECKING:
    from gateway.client.message import Message
    from gateway.core.messages.events import Gap

StartFrom: TypeAlias = Literal["new", "earliest", "snapshot"] | Mapping[str, int]
"""A word, or a number for ``offset``, ``time`` (ms since 1970), ``last`` or ``last_per_topic``."""

_LEAST = {StartKind.OFFSET: 1, StartKind.TIME: 0, StartKind.LAST: 1, StartKind.LAST_PER_TOPIC: 1}
_RULE = "'new', 'earliest', 'snapshot', {'offset': n}, {'time': ms}, {'last': n} or {'last_per_topic': n}"


class PositionFields(TypedDict):
    """A position as JSON has it."""

    epoch: str
    offset: int


ResumeFrom: TypeAlias = Mapping[str, Position] | Mapping[str, PositionFields]
"""Per stream the last position had, as ``Subscription.positions`` gives it."""


@dataclass(frozen=True, slots=True)
class SubscriptionStart:
    """What a subscription asks for: ``resume`` where it names a stream, ``start`` in all others."""

    start: Start = START_NEW
    resume: Mapping[str, Position] = field(default_factory=dict)

    @property
    def asks_history(self) -> bool:
        """Whether the gateway answers with history, and ``caught_up`` behind it."""
        return bool(self.resume) or self.start.kind is not StartKind.NEW


FROM_NOW = SubscriptionStart()


@dataclass(frozen=True, slots=True)
class Began:
    """A mark among a mailbox's items: what comes behind it begins at ``positions``.

    With ``snapshot`` these are last values, and what was received before counts no more.
    """

    positions: Mapping[str, Position]
    recovered: bool | None
    snapshot: bool = False


def parse_start(start: StartFrom) -> Start:
    """Read where to start.

    Raises:
        ValueError: it is none of the seven, or its number is too small, or for ``last_per_topic`` too large.
    """
    if isinstance(start, str) and start in ("new", "earliest", "snapshot"):
        return Start(StartKind(start))
    if isinstance(start, Mapping) and len(start) == 1:
        name, value = next(iter(start.items()))
        for kind, least in _LEAST.items():
            if name == kind.value and type(value) is int and value >= least:
                if kind is StartKind.LAST_PER_TOPIC and value > MOST_PER_TOPIC:
                    break
                return Start(kind, value)
    raise ValueError(
        f"start {start!r}: it is {_RULE}; offset and last from 1, time from 0, "
        f"last_per_topic from 1 to {MOST_PER_TOPIC}"
    )


def parse_positions(resume: ResumeFrom | None) -> dict[str, Position]:
    """Read positions that were kept; None is none.

    Raises:
        ValueError: not a mapping from streams to an epoch and an offset.
    """
    if not isinstance(resume, Mapping | None):
        raise ValueError(f"resume {resume!r}: it is a mapping from streams to positions")  # noqa: TRY004 - as below
    return {stream: _position(stream, at) for stream, at in (resume or {}).items()}


def _position(stream: str, at: Position | PositionFields) -> Position:
    if isinstance(at, Position):
        return at
    if isinstance(at, Mapping):
        epoch, offset = at.get("epoch"), at.get("offset")
        if isinstance(epoch, str) and type(offset) is int and offset >= 0:
            return Position(epoch, offset)
    raise ValueError(
        f"resume: stream {stream!r} needs an 'epoch' (text) and an 'offset' (from 0), not {at!r}"
    )


class Positions:
    """One reader's place in each stream; cheap to move, since every message of a stream moves it."""

    def __init__(self, positions: Mapping[str, Position] | None = None) -> None:
        self._epochs: dict[str, str] = {}
        self._offsets: dict[str, int] = {}
        self.begin(positions or {})

    def begin(self, positions: Mapping[str, Position]) -> None:
        """Forget all there was, and be at ``positions``."""
        self._epochs = {stream: at.epoch for stream, at in positions.items()}
        self._offsets = {stream: at.offset for stream, at in positions.items()}

    def current(self) -> dict[str, Position]:
        """The positions by now."""
        return {stream: Position(self._epochs[stream], offset) for stream, offset in self._offsets.items()}

    def has(self, message: Message) -> bool:
        """Whether ``message``, of a stream, lies at or before the position."""
        return (message.offset or 0) <= self._offsets.get(message.stream or "", -1)

    def pass_message(self, message: Message) -> None:
        """Move behind ``message``; nothing happens for live topics, and streams whose epoch nobody told."""
        stream, offset = message.stream, message.offset
        if stream is not None and offset is not None and offset > self._offsets.get(stream, offset):
            self._offsets[stream] = offset

    def pass_gap(self, gap: Gap) -> None:
        """Move behind what is missing, or into a stream's new epoch."""
        stream = gap.stream
        if stream is None or stream not in self._offsets:
            return
        if gap.reason == "epoch" and gap.epoch != self._epochs[stream]:
            if gap.epoch is None:
                del self._epochs[stream], self._offsets[stream]
            else:
                # A gateway that names no place goes on with the first message that there is.
                self._epochs[stream], self._offsets[stream] = gap.epoch, gap.offset or 0
        elif gap.last is not None and gap.last > self._offsets[stream]:
            self._offsets[stream] = gap.last
