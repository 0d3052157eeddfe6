"""A connection that only records what its session does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.codecs.websocket_frames import iter_payloads

if TYPE_CHECKING:
    from gateway.transports.websocket.connection import Writing


class RecordingConnection:
    """Takes all that is written, and says when nothing more is to be read."""

    writable = True
    last_received = 0.0

    def __init__(self) -> None:
        self.written = b""
        self.reading = True
        self.closed: tuple[int, str] | None = None

    def write(self, frames: bytes) -> None:
        self.written += frames

    def write_for(self, owner: Writing) -> None:
        owner.write = self.write

    def buffered_bytes(self) -> int:
        return 0

    def close(self, code: int, reason: str = "") -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.closed = (1006, "")

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def ping(self) -> None:
        pass

    def events(self) -> list[dict[str, object]]:
        return [orjson.loads(payload) for payload in iter_payloads(self.written)]
