"""A session's way to a client of server-sent events, whichever way the response's body is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.codecs.server_sent_events import KEEPALIVE
from gateway.core.session.close_codes import CloseCode

if TYPE_CHECKING:
    from gateway.codecs.server_sent_events import EventWriter


class BodyHandler(Protocol):
    """What a body tells; an error that it raises ends this response and no other."""

    def writable_changed(self, writable: bool) -> None:
        """The body takes no more, or takes again."""
        ...

    def connection_closed(self) -> None:
        """The end, exactly once."""
        ...

    def drain(self) -> None:
        """The server shuts down: say goodbye and end, in the session's own time."""
        ...


class EventBody(Protocol):
    """A response's body that is written as events come."""

    @property
    def writable(self) -> bool:
        """Whether it takes more."""
        ...

    def buffered_bytes(self) -> int:
        """How many bytes it holds."""
        ...

    def write(self, text: bytes) -> None:
        """Write complete lines; nothing happens after the end."""
        ...

    def finish(self) -> None:
        """End the response behind what is buffered, and the connection in bounded time."""
        ...

    def abort(self) -> None:
        """End at once; what is buffered is lost."""
        ...


class EventSink:
    """Where a session's frames go; nothing goes anywhere before ``begin``.

    Attributes:
        end: the code and the reason with which our side has ended it, or None.
    """

    __slots__ = ("_body", "_writer", "end")

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self._body: EventBody | None = None
        self.end: tuple[int, str] | None = None

    def begin(self, body: EventBody) -> None:
        """The response has begun."""
        self._body = body
        if self.end is not None:
            body.finish()

    @property
    def writable(self) -> bool:
        """Whether the response has begun and takes more."""
        return self._body is not None and self._body.writable

    def buffered_bytes(self) -> int:
        """See ``EventBody``."""
        return 0 if self._body is None else self._body.buffered_bytes()

    def write(self, frames: bytes) -> None:
        """Write the events of ``frames``."""
        if self._body is not None and self.end is None:
            self._body.write(self._writer.write(frames))

    def close(self, code: int, reason: str = "") -> None:
        """End behind what is buffered; ``code`` is for the log, this protocol has none."""
        if self.end is None:
            self.end = (code, reason)
            if self._body is not None:
                self._body.finish()

    def abort(self) -> None:
        """End at once."""
        self.end = self.end or (CloseCode.BROKEN, "aborted")
        if self._body is not None:
            self._body.abort()

    def keep_alive(self) -> None:
        """Write a comment: the client, and what is in between, see that the response goes on."""
        if self._body is not None and self.end is None and self._body.writable:
            self._body.write(KEEPALIVE)
