"""Numbers that processes tell one another without speaking: a few counters in a file in memory."""

from __future__ import annotations

import mmap
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NUMBER = Struct("=q")


class Board:
    """The counters ``received`` (messages so far) and ``wrong`` (those out of order), and ``ready``."""

    def __init__(self, path: Path) -> None:
        """Open the file; the first one to do so makes it."""
        if not path.exists():
            path.write_bytes(bytes(3 * _NUMBER.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    @property
    def received(self) -> int:
        return self._get(0)

    @received.setter
    def received(self, value: int) -> None:
        _NUMBER.pack_into(self._map, 0, value)

    @property
    def wrong(self) -> int:
        return self._get(1)

    @wrong.setter
    def wrong(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _NUMBER.size, value)

    @property
    def ready(self) -> bool:
        return self._get(2) != 0

    @ready.setter
    def ready(self, value: bool) -> None:
        _NUMBER.pack_into(self._map, 2 * _NUMBER.size, value)

    def _get(self, place: int) -> int:
        return int(_NUMBER.unpack_from(self._map, place * _NUMBER.size)[0])
