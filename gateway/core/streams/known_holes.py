"""Which offsets of a log are known to be missing, so that each is counted and told of once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

_MOST = 1024


class KnownHoles:
    """Ranges of offsets in one life of a log; a bounded number of them, the oldest offsets go first."""

    def __init__(self, epoch: str = "") -> None:
        self.epoch = epoch
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, epoch: str, first: int, last: int) -> int:
        """Note that ``first`` to ``last`` are missing; return how many of them were not known to be."""
        if epoch != self.epoch:
            self.__init__(epoch)  # type: ignore[misc]  # another life of the log: nothing is known of it
        # The known ranges that overlap or touch the new one become one with it.
        begin, end = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        merged_first = min([first, *self._firsts[begin : begin + 1]]) if begin < end else first
        merged_last = max([last, *self._lasts[end - 1 : end]]) if begin < end else last
        known = sum(
            max(0, min(last, self._lasts[at]) + 1 - max(first, self._firsts[at])) for at in range(begin, end)
        )
        self._firsts[begin:end] = [merged_first]
        self._lasts[begin:end] = [merged_last]
        if len(self._firsts) > _MOST:
            del self._firsts[0], self._lasts[0]
        return last + 1 - first - known
