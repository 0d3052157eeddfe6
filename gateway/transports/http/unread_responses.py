"""What responses wait in the transports' buffers because nobody reads them: in time, and in sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.engine.metrics.refusals import Refusals

if TYPE_CHECKING:
    from gateway.engine.runtime.timeout_queue import TimeoutQueue
    from gateway.transports.server.server_context import LimitedLog


class _Transport(Protocol):
    def get_write_buffer_size(self) -> int: ...

    def abort(self) -> None: ...


class UnreadResponses:
    """All connections' of one server; beyond the sum the one that has been waiting for longest is cut.

    Attributes:
        bytes: that wait now.
    """

    def __init__(self, most_bytes: int = 0, refusals: Refusals | None = None) -> None:
        """Hold at most ``most_bytes``; 0: any number."""
        self._most = most_bytes
        self._refusals = refusals or Refusals()
        self._waiting: dict[UnreadResponse, int] = {}
        self.bytes = 0

    def hold(self, response: UnreadResponse, size: int) -> None:
        """``response`` waits, with ``size`` bytes."""
        self.release(response)  # the order of the dict is that of waiting: it goes to the end
        self._waiting[response] = size
        self.bytes += size
        while self._most and self.bytes > self._most:
            longest = next(iter(self._waiting))
            self._refusals.count("response_bytes")
            longest.cut("too much waits for clients that don't read")

    def release(self, response: UnreadResponse) -> None:
        """It waits no longer; idempotent."""
        self.bytes -= self._waiting.pop(response, 0)

    def late(self) -> None:
        """Count one that waited for too long."""
        self._refusals.count("write_timeout")


class UnreadResponse:
    """One connection's: begun when its buffer is full, or when it is to close and isn't empty."""

    __slots__ = ("_all", "_deadlines", "_log", "_size", "_transport")

    def __init__(
        self, transport: _Transport, everyone: UnreadResponses, deadlines: TimeoutQueue, log: LimitedLog
    ) -> None:
        self._transport = transport
        self._all = everyone
        self._deadlines = deadlines
        self._log = log
        self._size = 0

    def begin(self) -> None:
        """Something waits: for a limited time, unless some of it is taken."""
        self._size = self._transport.get_write_buffer_size()
        if self._size:
            self._deadlines.start(self, self._late)
            self._all.hold(self, self._size)

    def end(self) -> None:
        """Nothing waits; idempotent."""
        self._deadlines.stop(self)
        self._all.release(self)

    def cut(self, reason: str) -> None:
        """End the connection at once."""
        self.end()
        self._log.warning("HTTP connection cut: %s", reason)
        self._transport.abort()

    def _late(self) -> None:
        left = self._transport.get_write_buffer_size()
        # However little was taken, the client reads: a slow link is no reason to cut it.
        if left < self._size:
            self._size = left
            self._deadlines.start(self, self._late)
        else:
            self._all.late()
            self.cut("its client has taken nothing of a response for too long")
