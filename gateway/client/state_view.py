"""A view of the last values of one filter's topics: made of what a subscription gets, told as changes.

Two views, one of which is shown. A snapshot is collected in a *draft* that nobody sees; when it is whole it
takes the place of what is shown in one step, and what is different between the two is told as changes. So
whoever looks sees a state that the streams had, never the first half of one.

Spec: docs/protocol.md, "Keeping a view".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from gateway.client.positions import Positions
from gateway.client.route import RECONNECT
from gateway.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.client.message import Message
    from gateway.core.messages.commands import Position
    from gateway.core.messages.events import Gap


@dataclass(frozen=True, slots=True)
class StateChange:
    """One topic's step from one value to another.

    Attributes:
        topic: whose value it is.
        old: the message that was there; None where there was none.
        new: the one that is there now; None where there is none any more.
        merged: how many earlier changes of the topic it stands for besides, which were not taken in time.
    """

    topic: str
    old: Message | None
    new: Message | None
    merged: int = 0

    @property
    def deleted(self) -> bool:
        """Whether the topic has no value any more."""
        return self.new is None


class PendingChanges:
    """Changes that wait for their reader: one for each topic, however slow it is.

    A topic keeps its turn when it changes again; one that came and went meanwhile is not told.
    """

    def __init__(self) -> None:
        self._changes: dict[str, StateChange] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, change: StateChange) -> None:
        """Take a change in."""
        earlier = self._changes.get(change.topic)
        if earlier is None:
            self._changes[change.topic] = change
        elif earlier.old is None and change.new is None:
            del self._changes[change.topic]
        else:
            self._changes[change.topic] = replace(change, old=earlier.old, merged=earlier.merged + 1)

    def take(self) -> StateChange:
        """The one that waits longest.

        Raises:
            StopIteration: there is none.
        """
        return self._changes.pop(next(iter(self._changes)))


class _Phase(Enum):
    WAITING = auto()  # for a snapshot to begin; what comes before it is of no use
    BUILDING = auto()  # one is received
    FOLLOWING = auto()  # what is shown is whole, and goes on


class StateView:
    """What is shown, and what takes its place; given what a subscription with ``start="snapshot"`` gets.

    Attributes:
        shown: topics and their messages as of ``positions``.
        complete: whether a snapshot has become whole.
    """

    def __init__(self, *, max_topics: int) -> None:
        self.shown: dict[str, Message] = {}
        self.complete = False
        self._max_topics = max_topics
        self._positions = Positions()
        self._phase = _Phase.WAITING
        self._draft: dict[str, Message] = {}
        self._draft_positions: Mapping[str, Position] = {}

    @property
    def following(self) -> bool:
        """Whether what is shown goes on, and is not about to be replaced."""
        return self._phase is _Phase.FOLLOWING

    @property
    def positions(self) -> dict[str, Position]:
        """What is shown is as of these."""
        return self._positions.current()

    def begin(self, positions: Mapping[str, Position], *, snapshot: bool) -> list[StateChange]:
        """What comes from here on begins at ``positions``; with ``snapshot`` it is a view anew."""
        if snapshot:
            self._phase = _Phase.BUILDING
            self._draft, self._draft_positions = {}, positions
        elif self._phase is _Phase.BUILDING:
            self._draft_positions = positions
        elif self._phase is _Phase.FOLLOWING:
            self._positions.begin(positions)
            # Streams are resumed. What no stream holds may have changed while nobody listened.
            return self._forget(_is_live)
        return []

    def receive(self, message: Message) -> list[StateChange]:
        """Change what ``message`` says.

        Raises:
            TooMany: it would be one topic more than ``max_topics``.
        """
        if self._phase is _Phase.WAITING:
            return []
        following = self._phase is _Phase.FOLLOWING
        values = self.shown if following else self._draft
        old = values.get(message.topic)
        if message.deleted:
            values.pop(message.topic, None)
        elif old is None and len(values) >= self._max_topics:
            raise TooMany(f"the state has more than max_topics={self._max_topics} topics")
        else:
            values[message.topic] = message
        if not following:
            return []
        self._positions.pass_message(message)
        new = None if message.deleted else message
        return [] if old is new else [StateChange(message.topic, old, new)]

    def caught_up(self) -> list[StateChange]:
        """All has come that there is: the draft, if there is one, is whole now."""
        if self._phase is not _Phase.BUILDING:
            return []
        before, self.shown, self._draft = self.shown, self._draft, {}
        self._positions.begin(self._draft_positions)
        self._phase = _Phase.FOLLOWING
        self.complete = True
        changes = [
            StateChange(topic, old, new)
            for topic, new in self.shown.items()
            if not _same(old := before.get(topic), new)
        ]
        changes += [StateChange(topic, old, None) for topic, old in before.items() if topic not in self.shown]
        return changes

    def pass_gap(self, gap: Gap) -> tuple[list[StateChange], bool]:
        """Something will not come.

        Returns:
            The changes that this is by itself; and whether the snapshot is to be asked for again, without
            positions. What comes until it begins is then passed over, and what is shown stays.
        """
        if self._phase is _Phase.WAITING or gap.reason == RECONNECT:
            return [], False  # After a reconnect, ``begin`` has said it all.
        if gap.filter is None:
            # It concerns live topics, whose values nobody can be asked for.
            return self._forget(_is_live), False
        if gap.reason == "epoch" and self._phase is _Phase.BUILDING:
            # The stream's last values follow in this same snapshot, those of its new life.
            return self._forget(lambda message: message.stream == gap.stream), False
        self._phase = _Phase.WAITING
        self._draft = {}
        return [], True

    def _forget(self, which: Callable[[Message], bool]) -> list[StateChange]:
        following = self._phase is _Phase.FOLLOWING
        values = self.shown if following else self._draft
        gone = [message for message in values.values() if which(message)]
        for message in gone:
            del values[message.topic]
        return [StateChange(message.topic, message, None) for message in gone] if following else []


def _is_live(message: Message) -> bool:
    return message.stream is None


def _same(old: Message | None, new: Message) -> bool:
    """Whether both are one publication, whichever way it came."""
    return old is not None and replace(old, snapshot=new.snapshot) == new
