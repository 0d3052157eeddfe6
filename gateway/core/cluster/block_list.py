"""Subjects that may not connect for a while, the same on every node in the end.

An administrator's last word about a subject counts, on whichever node it was said and in whatever order the
nodes hear of it. So each word has a place in one order: a number above all that its node has heard of, and
the node's name where two said something at once. Times travel as what is left of them, since clocks differ.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from gateway.errors import TooMany

LONGEST_BLOCK_SECONDS: Final = 31 * 86_400
LONGEST_SUBJECT: Final = 1_024
"""Characters."""

_LARGEST_NUMBER: Final = 2**53 - 1
_REMEMBERED_SECONDS: Final = 60.0
"""How long a word is kept at least, also when its block is over: it must win over older, longer ones."""


@dataclass(frozen=True, slots=True)
class Block:
    """One administrator's last word about a subject, as nodes tell it each other.

    Attributes:
        subject: who is kept out.
        number: with ``node`` its place in the order of all words.
        node: where it was said.
        seconds: left of the block; 0 if it is over.
        kept_seconds: left until it may be forgotten.
    """

    subject: str
    number: int
    node: str
    seconds: float
    kept_seconds: float

    def __post_init__(self) -> None:
        """Refuse what no node says.

        Raises:
            ValueError: a field is out of bounds.
        """
        if not 1 <= len(self.subject) <= LONGEST_SUBJECT:
            raise ValueError(f"a subject has 1 to {LONGEST_SUBJECT} characters")
        if not 1 <= self.number <= _LARGEST_NUMBER:
            raise ValueError("number out of bounds")
        for seconds in (self.seconds, self.kept_seconds):
            if not 0 <= seconds <= LONGEST_BLOCK_SECONDS:
                raise ValueError(f"seconds must be 0 to {LONGEST_BLOCK_SECONDS}")


class _Entry:
    __slots__ = ("fingerprint", "kept_until", "node", "number", "until")

    def __init__(self, block: Block, now: float) -> None:
        self.number = block.number
        self.node = block.node
        self.until = now + block.seconds
        self.kept_until = now + block.kept_seconds
        word = f"{block.number}/{block.node}/{block.subject}".encode()
        self.fingerprint = int.from_bytes(blake2b(word, digest_size=8).digest(), "big")


class BlockList:
    """Who is blocked until when; ``now`` is the caller's monotonic seconds.

    It holds ``entries`` at most. Rather than let a blocked subject in again it refuses to take one more.
    """

    def __init__(self, *, entries: int = 10_000) -> None:
        self._entries = entries
        self._known: dict[str, _Entry] = {}
        self._highest = 0
        self._digest = 0
        self._first_end = math.inf

    def __len__(self) -> int:
        return len(self._known)

    def block(self, subject: str, seconds: float, *, node: str, time: int, now: float) -> Block:
        """Block ``subject`` from now on for ``seconds``; an earlier block, longer or shorter, is void.

        Args:
            subject: who is kept out.
            seconds: for how long.
            node: this one.
            time: milliseconds since 1970. It only lets a node that has just begun, and heard of nothing yet,
                speak after what was said before.
            now: the monotonic time.

        Raises:
            TooMany: the list is full of blocks that still count.
        """
        former = self._known.get(subject)
        kept = max(seconds, _REMEMBERED_SECONDS, 0.0 if former is None else former.kept_until - now)
        number = min(max(self._highest + 1, time), _LARGEST_NUMBER)
        block = Block(subject, number, node, seconds, min(kept, LONGEST_BLOCK_SECONDS))
        self.learn(block, now=now)
        return block

    def learn(self, block: Block, *, now: float) -> bool:
        """Take what a node, this one or another, has said.

        Returns:
            Whether it is newer than all that was known of its subject.

        Raises:
            TooMany: the list is full of blocks that still count.
        """
        former = self._known.get(block.subject)
        if former is not None and (former.number, former.node) >= (block.number, block.node):
            return False
        if former is None and len(self._known) >= self._entries:
            self._make_room(now)
        self._highest = max(self._highest, block.number)
        entry = self._known[block.subject] = _Entry(block, now)
        self._digest ^= entry.fingerprint ^ (0 if former is None else former.fingerprint)
        self._first_end = min(self._first_end, entry.kept_until)
        return True

    def blocked(self, subject: str, now: float) -> bool:
        """Whether ``subject`` is blocked."""
        entry = self._known.get(subject)
        return entry is not None and entry.until > now

    def digest(self, now: float) -> str:
        """A short text that is the same on two nodes if they know the same; forgets what is over."""
        if now >= self._first_end:
            self._keep({name: entry for name, entry in self._known.items() if entry.kept_until > now})
        return f"{self._digest:016x}"

    def page(self, *, limit: int, after: str, now: float) -> list[Block]:
        """The ``limit`` blocks whose subjects follow ``after``, in order."""
        names = heapq.nsmallest(limit, (name for name in self._known if name > after))
        return [self._told(name, self._known[name], now) for name in names]

    def _told(self, subject: str, entry: _Entry, now: float) -> Block:
        return Block(subject, entry.number, entry.node, _left(entry.until, now), _left(entry.kept_until, now))

    def _make_room(self, now: float) -> None:
        self._keep({name: entry for name, entry in self._known.items() if entry.until > now})
        if len(self._known) >= self._entries:
            raise TooMany(f"{self._entries} subjects are blocked already, which is the most")

    def _keep(self, known: dict[str, _Entry]) -> None:
        self._known = known
        self._first_end = min((entry.kept_until for entry in known.values()), default=math.inf)
        self._digest = 0
        for entry in known.values():
            self._digest ^= entry.fingerprint


def _left(until: float, now: float) -> float:
    # What was added to a large clock and is taken from it again may come out a little larger.
    return min(max(0.0, until - now), LONGEST_BLOCK_SECONDS)
