"""Writing the log without ever waiting for who reads it.

A log goes to a pipe, a terminal or a socket, and all of these may stop taking: `kubectl logs` that hangs, a
terminal in which somebody has pressed Ctrl-S. Whoever writes then waits, and on the event loop everybody
waits with it. So lines are queued, up to a bound, and a thread brings them out; what there is no room for is
counted and left out.

The process that others are forked from may have no thread. There a line is written at once if the kernel
says that it takes one, and else left out.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import os
import select
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUED_BYTES: Final = 1024 * 1024
"""What may wait to be written: some five thousand records."""

FLUSH_SECONDS: Final = 0.3
"""How long a process that ends waits for a reader that takes nothing."""

_ATOMIC_BYTES: Final = getattr(select, "PIPE_BUF", 512)
"""A pipe takes so much in one piece: several processes that write to one don't cut each other's lines."""


class LogStream(io.TextIOBase):
    """A text stream in front of another one; ``write`` never waits, and never fails.

    Attributes:
        inner: what is written to. It must be used by nobody else from now on.
        dropped: texts that were left out so far.
        on_dropped: called beside the event loop once lines are taken again, with how many were left out.
    """

    def __init__(self, inner: TextIO, *, thread: bool = True, most_bytes: int = QUEUED_BYTES) -> None:
        """Write to ``inner``; ``thread=False`` for a process that is forked."""
        self.inner = inner
        self.dropped = 0
        self.on_dropped: Callable[[int], None] | None = None
        self._number = _descriptor(inner)
        self._most = most_bytes
        self._threaded = thread and self._number is not None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._bytes = 0  # of lines, and of what the thread is writing
        self._told = 0
        if self._threaded:
            atexit.register(self.flush)

    # TextIOBase

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream behind it."""
        return self.inner.encoding or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What can't be encoded is escaped: a record must not be lost for one character."""
        return "backslashreplace"

    def fileno(self) -> int:
        """See ``io.IOBase``."""
        return self.inner.fileno()

    def isatty(self) -> bool:
        """See ``io.IOBase``."""
        return self.inner.isatty()

    def writable(self) -> bool:
        """See ``io.IOBase``."""
        return True

    def write(self, text: str) -> int:
        """Have ``text`` written, or count it as dropped."""
        if self._number is None:
            # Not a file of the system's: a test's, or one that an application has put in its place.
            with suppress(OSError, ValueError):
                self.inner.write(text)
                self.inner.flush()
            return len(text)
        data = text.encode(self.encoding, "backslashreplace")
        if self._threaded:
            self._queue(data)
        elif not _write_now(self._number, data):
            self.dropped += 1
        return len(text)

    def flush(self) -> None:
        """Wait a bounded time until all is written, but not where an event loop would stand still."""
        if self._thread is None or sys.is_finalizing() or _on_a_loop():
            return
        if threading.current_thread() is not self._thread:
            with self._changed:
                self._changed.wait_for(lambda: not self._bytes, FLUSH_SECONDS)

    # The queue

    def _queue(self, data: bytes) -> None:
        with self._changed:
            if self._bytes + len(data) > self._most:
                self.dropped += 1
                return
            self._lines.append(data)
            self._bytes += len(data)
            if self._thread is None:
                self._begin()
            elif len(self._lines) == 1:
                self._changed.notify_all()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, daemon=True, name="log")
        try:
            thread.start()
        except RuntimeError:
            # The interpreter ends, or the system has no thread left.
            self.dropped += len(self._lines)
            self._lines.clear()
            self._bytes = 0
        else:
            self._thread = thread

    def _run(self) -> None:
        assert self._number is not None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                lines, self._lines = self._lines, []
            for piece in _pieces(lines):
                _write_all(self._number, piece)
            with self._changed:
                self._bytes -= sum(map(len, lines))
                left_out = self.dropped - self._told
                self._told = self.dropped
                if not self._bytes:
                    self._changed.notify_all()
            if left_out and self.on_dropped is not None:
                with suppress(Exception):  # this thread is the only one there is
                    self.on_dropped(left_out)


def dropped_records() -> int:
    """How many records this process has left out, since nobody took them."""
    return sys.stderr.dropped if isinstance(sys.stderr, LogStream) else 0


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Whole lines, as many to a write as a pipe takes in one piece."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > _ATOMIC_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    yield b"".join(piece)


def _write_all(number: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(number, view) :]
        except BlockingIOError:
            # Somebody else has made it non-blocking: it is theirs as well.
            select.select([], [number], [])
        except OSError:
            # Nobody reads the log any more; that must not end whatever it would have told of.
            return


def _write_now(number: int, data: bytes) -> bool:
    """Write as far as the kernel takes it without waiting; return whether that was all."""
    view = memoryview(data)
    while view:
        try:
            if not select.select([], [number], [], 0)[1]:
                return False
            view = view[os.write(number, view[:_ATOMIC_BYTES]) :]
        except (OSError, ValueError):
            return True
    return True
