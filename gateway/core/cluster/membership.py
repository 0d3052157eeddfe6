"""Which nodes there are, by what one of them hears: heartbeats, its own among them.

No node's clock counts but the own monotonic one, at the moment of hearing. A node that hears nothing, not
even itself, can't tell who has gone; so while it is deaf nobody goes, and when it hears again everybody is
given the whole time anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.cluster.info import NodeInfo


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a node is heard and missed; seconds.

    Attributes:
        beat: from one heartbeat to the next.
        deaf: without its own heartbeat a node takes itself for deaf; less than ``silence``.
        silence: after so long without a heartbeat a node has gone.
    """

    beat: float = 2.0
    deaf: float = 5.0
    silence: float = 7.0


@dataclass(frozen=True, slots=True)
class Member:
    """Another node.

    Attributes:
        facts: as it told last.
        blocks: the digest of its block list.
        heard: when, in the hearing node's monotonic seconds.
    """

    facts: NodeInfo
    blocks: str
    heard: float


class Membership:
    """The other nodes; all times are the caller's monotonic seconds.

    Attributes:
        turned_away: heartbeats of nodes for which there was no room.
    """

    def __init__(self, rhythm: Rhythm | None = None, *, entries: int = 1_024) -> None:
        self.rhythm = rhythm or Rhythm()
        self._entries = entries
        self._members: dict[str, Member] = {}
        self._echo: float | None = None
        self._hearing_since = 0.0
        self.turned_away = 0

    def note_heartbeat(self, facts: NodeInfo, blocks: str, now: float) -> None:
        """Another node's heartbeat has come."""
        if facts.node not in self._members and len(self._members) >= self._entries:
            self._forget(now)
            if len(self._members) >= self._entries:
                self.turned_away += 1
                return
        self._members[facts.node] = Member(facts, blocks, now)

    def note_echo(self, now: float) -> None:
        """The node's own heartbeat has come back."""
        if self.deaf(now):
            self._hearing_since = now
        self._echo = now

    def left(self, node: str) -> None:
        """``node`` has said that it ends."""
        self._members.pop(node, None)

    def deaf(self, now: float) -> bool:
        """Whether the node can't know who is there."""
        return self._echo is None or now - self._echo > self.rhythm.deaf

    def complete(self, now: float) -> bool:
        """Whether it has heard for so long that every other node has been heard."""
        return not self.deaf(now) and now - self._hearing_since >= 1.5 * self.rhythm.beat

    def others(self, now: float) -> list[Member]:
        """The other nodes, by name."""
        self._forget(now)
        return [self._members[name] for name in sorted(self._members)]

    def _forget(self, now: float) -> None:
        if self.deaf(now):
            return
        gone = [
            name
            for name, member in self._members.items()
            if now - max(member.heard, self._hearing_since) > self.rhythm.silence
        ]
        for name in gone:
            del self._members[name]
