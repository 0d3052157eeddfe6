"""How far each log of a SQLite store has come, noted beside it before publishers are answered.

SQLite's write-ahead log can lose its end, or be lost altogether, between a crash and the next start: a disk
that keeps less than it says, a copy made without it, somebody tidying up. SQLite then opens what is left
without a word, and offsets that were answered would be given to other publications. So after each commit, and
before its publishers are answered, the ends of the logs that it touched are written here, in place, without
an fsync: what survives a crash of the process is enough, since this file is never ahead of a log that is
whole. After a power cut it may be behind; then it tells nothing, and there is the note in ``sqlite_seen``.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.streams.sqlite.logs import SqliteLog
    from gateway.streams.sqlite.seen import End

_content = Struct("<16sq")
_SLOT = 32
_MOST_BYTES = 1024 * 1024

_log = logging.getLogger("gateway.streams")


class EndsFile:
    """One slot for each log's number, with its own checksum; everything runs in the writing thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._failed = False

    def read(self) -> Mapping[int, End]:
        """The ends by the number of the log; without slots that can't be read."""
        try:
            content = self._path.read_bytes()[:_MOST_BYTES]
        except OSError:
            return {}
        found: dict[int, End] = {}
        for at in range(0, len(content) - _SLOT + 1, _SLOT):
            slot = content[at : at + _content.size]
            if crc32(slot).to_bytes(4, "little") == content[at + _content.size : at + _content.size + 4]:
                epoch, last = _content.unpack(slot)
                found[at // _SLOT] = epoch.rstrip(b"\0").decode("utf-8", "replace"), last
        return found

    def note(self, logs: Iterable[SqliteLog]) -> None:
        """Note where these logs end; a failure is logged, since what was to be kept is kept all the same."""
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            for log in logs:
                slot = _content.pack(log.epoch.encode("utf-8", "replace"), log.last)
                os.pwrite(self._file, slot + crc32(slot).to_bytes(4, "little") + bytes(4), log.number * _SLOT)
        except OSError as error:
            if not self._failed:
                _log.warning("%s: where the streams end can't be noted: %s", self._path, error.strerror)
            self._failed = True
        else:
            self._failed = False

    def close(self) -> None:
        """Let go of the file; the next note opens it again."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None
