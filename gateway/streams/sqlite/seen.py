"""What is noted beside a database of streams, so that an old copy in its place is found out.

A database can't tell that it is an old copy of itself. So a small file beside it says what was answered to
publishers last, in which file it was kept, and which start of a gateway wrote that; the database says which
start it was too. If the two don't agree as the database is opened, offsets may be about to be given out a
second time, and every stream begins a new epoch.

What can't be found out: the database and the note put back together, in the same files, as a snapshot of a
whole volume does. Whoever does that removes the note, and the next start begins new epochs. What the note
hasn't caught up with is in ``sqlite_ends``.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

End = tuple[str, int]
"""The epoch and the last offset of a log."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the note says.

    Attributes:
        token: of the start of a gateway that wrote it.
        ends: of every log, as far as the note has caught up.
        file: which file the database is, whatever its name: its inode.
        log: which file SQLite's write-ahead log beside it is.
        previous: the token before, while a start is under way that has yet to reach the database.
        boot: of which start of the machine; empty where it can't be told.
        safe: what was answered survives a stop of the machine.
    """

    token: str
    ends: Mapping[str, End]
    file: int = 0
    log: int = 0
    previous: str | None = None
    boot: str = ""
    safe: bool = False


def doubt(seen: Seen | None, token: str, ends: Mapping[str, End], file: int) -> str | None:
    """Why a database may be another than the one that was closed last; None: it is the same.

    Args:
        seen: the note, or None where there is none that can be read.
        token: the database's.
        ends: of the database's logs.
        file: which file the database is.
    """
    if seen is None:
        return "there is no note of what was answered last"
    if token not in {seen.token, seen.previous}:
        return "it isn't the one that was written last"
    if seen.file != file:
        return "it lies in another file than the one that was written last"
    for stream, end in seen.ends.items():
        found = ends.get(stream)
        if found is None or found[0] != end[0] or found[1] < end[1]:
            return f"stream {stream!r} had more when it was written last"
    if not seen.safe and seen.boot != boot_id():
        return "the machine stopped, and the last answers may not have reached the disk"
    return None


def boot_id() -> str:
    """What distinguishes this start of the machine from others, where the system tells."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


class SeenFile:
    """The note; written by two threads, so behind a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._current: Seen | None = None

    def read(self) -> Seen | None:
        """The note, or None where there is none or nobody can read it."""
        try:
            fields = json.loads(self.path.read_text("utf-8"))
            ends = {str(name): (str(epoch), int(last)) for name, (epoch, last) in fields["ends"].items()}
            return Seen(
                str(fields["token"]),
                ends,
                int(fields["file"]),
                int(fields["log"]),
                fields["previous"],
                str(fields["boot"]),
                bool(fields["safe"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, seen: Seen) -> None:
        """Replace the note.

        Raises:
            OSError: it can't be written.
        """
        with self._lock:
            self._replace(seen)

    def begin(self, seen: Seen, token: str, previous: str) -> None:
        """Announce a new start, everything else as it was noted: the database will follow.

        Raises:
            OSError: it can't be written.
        """
        self.write(replace(seen, token=token, previous=previous))

    def finish(self, ends: Mapping[str, End], *, on_disk: bool) -> None:
        """Note how far the logs came until the database was closed, and whether all of it is on the disk.

        Raises:
            OSError: it can't be written.
        """
        with self._lock:
            if self._current is not None:
                seen, all_ends = self._current, {**self._current.ends, **ends}
                self._replace(replace(seen, ends=all_ends, safe=seen.safe or on_disk))

    def update(self, token: str, ends: Mapping[str, End]) -> None:
        """Note how far the logs have come, unless another start has taken over.

        Raises:
            OSError: it can't be written.
        """
        with self._lock:
            if self._current is not None and self._current.token == token:
                self._replace(replace(self._current, ends={**self._current.ends, **ends}))

    def _replace(self, seen: Seen) -> None:
        new = self.path.with_name(self.path.name + ".new")
        # Whole or not at all, whenever the machine stops: written aside, on the disk, then renamed.
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(seen), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        sync_directory(self.path.parent)
        self._current = seen


def file_number(path: Path) -> int:
    """Which file ``path`` is, its inode; 0 where there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def sync_directory(directory: Path) -> None:
    """Put a directory's entries on the disk, where the system can."""
    with suppress(OSError):
        opened = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
