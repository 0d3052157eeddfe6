"""In which order a group's publications go out: the oldest first, one at a time of each key, shares in turn.

A publication that waits is a number here, nothing more, so that a million of them cost little.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heappop, heappush


class _Line:
    """The publications of one key: the first, which isn't parked, and those behind it with their shares."""

    __slots__ = ("behind", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        # Most keys have one publication at a time, and an empty deque takes more room than all else here.
        self.behind: deque[tuple[int, str]] | None = None


class Turns:
    """What may go out next.

    With ``ordered`` there is a line for each key. Its first publication is out, or may go out; those behind
    it are parked until it is finished. Shares take turns: the one that was served stands at the end.

    Attributes:
        ready: how many may go out.
        parked: how many wait behind another one of their key.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._shares: OrderedDict[str, list[int]] = OrderedDict()
        self._lines: dict[str, _Line] = {}
        self._keys: dict[int, str] = {}
        # What was removed stays where it stands, and is left out when its turn comes.
        self._removed: set[int] = set()
        # What was out already when its key got a line: it stands in none.
        self._beside: set[int] = set()
        self.ready = 0
        self.parked = 0

    def enter(self, offset: int, key: str | None, share: str, *, out: bool = False) -> bool:
        """A publication comes, behind all with lower offsets; whether it is parked behind one of its key.

        What is ``out`` already waits for nobody, and is waited for where it is the first of its key.
        """
        if not self._ordered or key is None:
            return False
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = _Line(offset)
            self._keys[offset] = key
            return False
        if out:
            self._beside.add(offset)
            return False
        if line.behind is None:
            line.behind = deque()
        line.behind.append((offset, share))
        self.parked += 1
        return True

    def make_ready(self, offset: int, share: str) -> None:
        """A publication that isn't parked may go out."""
        waiting = self._shares.get(share)
        if waiting is None:
            waiting = self._shares[share] = []
        heappush(waiting, offset)
        self.ready += 1

    def take(self) -> tuple[int, str] | None:
        """The publication whose turn it is, and its share; None where none may go out."""
        while self.ready:
            share = next(iter(self._shares))
            waiting = self._shares[share]
            offset = heappop(waiting)
            while offset in self._removed:
                self._removed.discard(offset)
                if not waiting:
                    break
                offset = heappop(waiting)
            else:
                self.ready -= 1
                if waiting:
                    self._shares.move_to_end(share)
                else:
                    del self._shares[share]
                return offset, share
            del self._shares[share]
        return None

    def finish(self, offset: int) -> tuple[int, str] | None:
        """What isn't parked is done: the one that was behind it, parked no longer, and its share."""
        key = self._keys.pop(offset, None)
        if key is None:
            self._beside.discard(offset)
            return None
        line = self._lines[key]
        while line.behind:
            following, share = line.behind.popleft()
            if following in self._removed:
                self._removed.discard(following)
                continue
            self.parked -= 1
            line.first = following
            self._keys[following] = key
            return following, share
        del self._lines[key]
        return None

    def remove(self, offset: int, key: str | None) -> bool:
        """Forget what is parked, or may go out and is about to be finished; whether it was parked."""
        self._removed.add(offset)
        if self._is_parked(offset, key):
            self.parked -= 1
            return True
        self.ready -= 1
        return False

    def parked_behind(self, offset: int, key: str | None) -> int | None:
        """The offset that an unfinished publication of this key waits for; None where it isn't parked."""
        return self._lines[key].first if key is not None and self._is_parked(offset, key) else None

    def _is_parked(self, offset: int, key: str | None) -> bool:
        line = self._lines.get(key) if key is not None else None
        return line is not None and line.first != offset and offset not in self._beside
