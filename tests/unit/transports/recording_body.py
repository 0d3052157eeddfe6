"""A response's body that only records what its session writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.event_stream import EventStreamReader

if TYPE_CHECKING:
    from tests.event_stream import ServerSentEvent


class RecordingBody:
    """Takes all that is written."""

    def __init__(self) -> None:
        self.writable = True
        self.text = b""
        self.finished = False
        self.aborted = False

    def buffered_bytes(self) -> int:
        return 0

    def write(self, text: bytes) -> None:
        self.text += text

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def events(self) -> list[ServerSentEvent]:
        return EventStreamReader().feed(self.text)
