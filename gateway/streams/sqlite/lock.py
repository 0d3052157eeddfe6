"""One process for one database file, whatever names it has.

The lock that is SQLite's own lies beside the store (``sqlite_file.lock``), so it goes by the store's name; a
file may have several. This one lies on the database file itself. It is one of Linux' open file description
locks, on a byte far beyond those that SQLite locks: other locks of a process end when any part of it closes
the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import StoreUnusable

if TYPE_CHECKING:
    from pathlib import Path

_BYTE = 2**62
_HELD = {errno.EACCES, errno.EAGAIN}


class FileLock:
    """The lock on one database file, until ``release`` or the process' end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def claim(self) -> None:
        """Claim the file that is there now, where the system can; before SQLite opens it.

        Raises:
            StoreUnusable: another process has it, by another name.
        """
        with suppress(OSError):
            if self._file is not None and os.fstat(self._file).st_ino == self._path.stat().st_ino:
                return
        self.release()
        if not hasattr(fcntl, "F_OFD_SETLK"):
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return  # SQLite makes it, or says what is wrong with it
        try:
            # struct flock: a lock to write, from the file's beginning, one byte.
            wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
        except OSError as exc:
            if exc.errno in _HELD:
                os.close(file)
                raise StoreUnusable(
                    f"{self._path}: another process keeps its streams in the same file, by another name"
                ) from exc
            # A file system without such locks. Not closed: that would end the locks that SQLite has by now.
        self._file = file

    def release(self) -> None:
        """Let others have the file; SQLite has closed it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
