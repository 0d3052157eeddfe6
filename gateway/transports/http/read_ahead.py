"""What a client sends ahead of the answers: how much of it is parsed, and how much stays as it came.

One read can hold thousands of requests, and each costs more than a hundred times its bytes once it is parsed.
So a read is parsed piece by piece, a piece ending where a head ends: as soon as ``MOST_WAITING`` requests
wait, the rest is held here. A few bytes are taken behind them, since only who reads notices that the client
goes; then nothing is read any more.

One read can also hold a body in tens of thousands of chunks, and each costs a call. So no more than
``TURN_BYTES`` of a connection are parsed in one turn of the event loop; the rest is held here until the next.
"""

from __future__ import annotations

from typing import Final

MOST_WAITING: Final = 4
"""How many requests of a connection wait, parsed, behind the one that is being answered."""
TURN_BYTES: Final = 16 * 1024
"""How many bytes of a connection are parsed until others have their turn."""
_MOST_HELD: Final = 64 * 1024
"""How many bytes behind them are held before nothing more is read; one read may pass it."""

_HEAD_END: Final = b"\r\n\r\n"


class ReadAhead:
    """One connection's bytes that wait to be parsed."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0

    def __len__(self) -> int:
        return len(self._data) - self._at

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read."""
        return len(self) > _MOST_HELD

    def hold(self, data: bytes, at: int) -> None:
        """Keep what is behind ``at``, without a copy of it: a read is taken piece by piece."""
        self._data, self._at = data, at

    def add(self, data: bytes) -> None:
        """Keep ``data`` behind the rest."""
        self._data, self._at = self._data[self._at :] + data, 0

    def take(self) -> tuple[bytes, int]:
        """Return what is held, and where in it the rest begins; nothing is held then."""
        held = self._data, self._at
        self._data, self._at = b"", 0
        return held


def has_one_head(data: bytes) -> bool:
    """Whether nothing can begin behind the first head's end in ``data``: the common read."""
    first = data.find(_HEAD_END)
    return first < 0 or data.find(_HEAD_END, first + len(_HEAD_END)) < 0


def end_of_piece(data: bytes, at: int, most: int) -> int:
    """Where the next head behind ``at`` ends, or ``data``; what looks like one in a body does no harm.

    A piece without such an end goes no further than ``most``. An end that lies across it is not cut: the
    piece that began in it would hold two.
    """
    found = data.find(_HEAD_END, at, most + len(_HEAD_END) - 1)
    return min(most, len(data)) if found < 0 else found + len(_HEAD_END)
