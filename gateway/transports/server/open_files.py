"""File descriptors that are left: each connection is one, and who has none can do nothing at all.

Left to it, uvloop resets the connections for which there is no descriptor, and says nothing; Redis can't be
connected to again, no certificate or database opened. So the last ones are kept for the gateway itself.
How many are left costs nothing to know: a new one always gets the lowest free number (POSIX, ``open``).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.transports.server.server_context import LimitedLog

try:
    import resource
except ImportError:  # not on every platform
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_MOST_KEPT: Final = 64


class Room(Enum):
    """What there is for a new connection."""

    ENOUGH = "it is served"
    REFUSE = "only to say that there is none"
    NONE = "none at all"


def allow_open_files() -> None:
    """Let the process open as many files as it may: each connection is one, and shells allow 1,024."""
    if resource is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class OpenFiles:
    """The descriptors of this process; to be asked on its event loop.

    Args:
        refused: told of each connection that there was no descriptor for, as far as that can be known.
    """

    def __init__(self, refused: Callable[[], None]) -> None:
        self._refused = refused
        self._log: LimitedLog | None = None
        self._limit = self._kept = 0
        self._read_limit()

    def room(self, connection: asyncio.BaseTransport) -> Room:
        """Decide on a new connection."""
        opened: socket.socket | None = connection.get_extra_info("socket")
        if opened is None:
            return Room.ENOUGH
        left = self._limit - opened.fileno()
        if left > self._kept or self._limit <= 0:  # no limit is -1
            return Room.ENOUGH
        self._report()
        return Room.REFUSE if left > self._kept // 2 else Room.NONE

    def look(self) -> None:
        """Find out whether anything can be opened at all; where it can't, nobody asks about connections."""
        self._read_limit()
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._report()

    def looking(self, also: Callable[[], None] | None) -> Callable[[], None]:
        """Return what looks, and then does something else."""

        def look() -> None:
            self.look()
            if also is not None:
                also()

        return look

    def _read_limit(self) -> None:
        if resource is not None:
            self._limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._kept = min(_MOST_KEPT, self._limit // 8)

    def _report(self) -> None:
        self._refused()
        if self._log is None:
            self._log = LimitedLog(asyncio.get_running_loop(), logging.getLogger("gateway"))
        self._log.warning(
            "no file descriptors are left for connections: the process may have %d (ulimit -n)", self._limit
        )
