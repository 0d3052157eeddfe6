"""What a WebSocket client sends, parsed without I/O: masked frames in, complete messages out.

One parser per connection that was taken over. It is written for many small frames in one read: a whole,
unfragmented frame of up to 125 bytes takes a short way of its own, everything else goes through ``_frame``.
(The parser of the ``websockets`` library takes 4.9 µs for a small text frame and bounds neither the number of
fragments nor what is held between them.)

A violation does not raise: what was complete before it is still returned, ``failure`` then says how the
connection must be closed, and nothing is parsed any more.

There are no extensions: what is sent is encoded once for all connections, and never compressed.

Spec: RFC 6455, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from websockets.speedups import apply_mask

from gateway.transports.websocket.closing import (
    MESSAGE_TOO_BIG,
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    FrameFailure,
    check_text,
    close_code_and_reason,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

Event = tuple[int, bytes]
"""An opcode (``TEXT``, ``BINARY``, ``CLOSE``, ``PING``, ``PONG``) and its complete, unmasked payload."""

EVENTS_AT_ONCE: Final = 256
"""Most events of one ``feed``: one read can hold 40,000 frames, as objects 20 times its size."""

_LARGEST_SHORT: Final = 125
_DATA: Final = (CONTINUATION, TEXT, BINARY)
_KNOWN: Final = (*_DATA, CLOSE, PING, PONG)
_unmask: Final = apply_mask


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a client may send; shared by many connections.

    Attributes:
        message_bytes: most bytes of a message, over all its fragments; at least 125.
        fragments: how many fragments a message may have, beside one for each ``bytes_per_fragment``
            received: large messages in small pieces are legal, empty fragments without end are an attack.
        refuse_invalid_text: close with 1007 for text that is not UTF-8; else it is the receiver's to refuse.
    """

    message_bytes: int
    fragments: int = 1024
    bytes_per_fragment: int = 32
    refuse_invalid_text: bool = True

    def __post_init__(self) -> None:
        if self.message_bytes < _LARGEST_SHORT:
            raise ValueError(f"message_bytes must be at least {_LARGEST_SHORT}, not {self.message_bytes}")


class ClientFrames:
    """The parser of one connection."""

    __slots__ = ("_buffer", "_fragments", "_message", "_needed", "_opcode", "failure", "limits")

    def __init__(self, limits: FrameLimits) -> None:
        self.limits = limits
        self.failure: FrameFailure | None = None
        self._buffer: bytearray | None = None
        self._needed = 0
        self._message: bytearray | None = None
        self._opcode = CONTINUATION
        self._fragments = 0

    @property
    def backlog(self) -> bool:
        """Whether ``feed(b"")`` may return more, without further bytes from the client."""
        return self._buffer is not None and not self._needed

    @property
    def unfinished(self) -> bool:
        """Whether the client has begun a frame or a message and not yet ended it."""
        return self._message is not None or (self._buffer is not None and self._needed > 0)

    def feed(self, data: bytes) -> Sequence[Event]:
        """Take what was read, and return what is complete, in order; at most ``EVENTS_AT_ONCE``.

        Nothing that follows a close frame is looked at (RFC 6455, 5.5.1).
        """
        if self.failure is not None or self._opcode == CLOSE:
            return ()
        unread = data
        if self._buffer is not None:
            self._buffer += data
            # A large frame comes in many reads: looked at once, when the whole of it is here.
            if len(self._buffer) < self._needed:
                return ()
            unread, self._buffer = bytes(self._buffer), None
        self._needed = 0
        events: list[Event] = []
        try:
            position = self._parse(unread, events)
        except FrameFailure as failure:
            # A fresh one: what was raised holds the frames it came through, and their bytes.
            self.failure = FrameFailure(failure.code, failure.reason)
            self._message = None
            return events
        if position < len(unread):
            self._buffer = bytearray(memoryview(unread)[position:])
        return events

    def _parse(self, data: bytes, events: list[Event]) -> int:
        """Append what is complete to ``events``, and return where the rest begins."""
        longest_message, check = self.limits.message_bytes, self.limits.refuse_invalid_text
        position, end = 0, len(data)
        while position < end and len(events) < EVENTS_AT_ONCE:
            start = position + 6
            if start <= end:
                first = data[position]
                length = data[position + 1] - 0x80
                if length == 126 and start + 2 <= end:
                    start += 2
                    length = data[position + 2] << 8 | data[position + 3]
                    # RFC 6455, 5.2: a length must take the shortest form; the slow way says so.
                    shortest, longest = 126, longest_message
                else:
                    shortest, longest = 0, _LARGEST_SHORT
                stop = start + length
                # Text or binary, final, masked, not long, here as a whole, and not inside another message.
                if (
                    (first == 0x81 or first == 0x82)  # noqa: PLR1714 - twice as fast as a tuple
                    and shortest <= length <= longest
                    and stop <= end
                    and self._message is None
                ):
                    payload = _unmask(data[start:stop], data[start - 4 : start])
                    if check and first == 0x81:
                        check_text(payload)
                    events.append((first & 0xF, payload))
                    position = stop
                    continue
            stop = self._frame(data, position, events)
            if stop < 0:
                break
            position = stop
        return position

    def _frame(self, data: bytes, position: int, events: list[Event]) -> int:
        """Parse any frame; returns where it ends, or -1 when it isn't complete (``_needed`` is set)."""
        available = len(data) - position
        if available < 2:
            return self._wait_for(2)
        first, second = data[position], data[position + 1]
        opcode = first & 0xF
        self._check_head(first, second)
        start = position + 2
        length = second & 0x7F
        if length > _LARGEST_SHORT:
            size = 2 if length == 126 else 8
            start += size
            if start > len(data):
                return self._wait_for(2 + size)
            length = _long_length(data[start - size : start])
        if opcode in _DATA:
            # Before a byte of it is kept: a declared length costs the client nothing.
            self._check_room(length)
        start += 4
        stop = start + length
        if stop > len(data):
            return self._wait_for(stop - position)
        payload = apply_mask(memoryview(data)[start:stop], data[start - 4 : start])
        if opcode in _DATA:
            self._data_frame(first, payload, events)
            return stop
        if opcode == CLOSE:
            close_code_and_reason(payload)
            self._message, self._opcode = None, CLOSE
            events.append((opcode, payload))
            return len(data)
        events.append((opcode, payload))
        return stop

    def _wait_for(self, size: int) -> int:
        self._needed = size
        return -1

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0xF
        if first & 0x70:
            raise FrameFailure(PROTOCOL_ERROR, "reserved bits must be 0")
        if opcode not in _KNOWN:
            raise FrameFailure(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if second < 0x80:
            raise FrameFailure(PROTOCOL_ERROR, "a client's frames must be masked")
        if opcode in _DATA:
            if opcode == CONTINUATION and self._message is None:
                raise FrameFailure(PROTOCOL_ERROR, "there is no message to continue")
            if opcode != CONTINUATION and self._message is not None:
                raise FrameFailure(PROTOCOL_ERROR, "the message before it has not ended")
        elif first < 0x80:
            raise FrameFailure(PROTOCOL_ERROR, "a control frame must not be fragmented")
        elif second & 0x7F > _LARGEST_SHORT:
            raise FrameFailure(PROTOCOL_ERROR, "a control frame must not exceed 125 bytes")

    def _check_room(self, length: int) -> None:
        held = 0 if self._message is None else len(self._message)
        most = self.limits.message_bytes
        if held + length > most:
            raise FrameFailure(MESSAGE_TOO_BIG, f"a message must not exceed {most} bytes")

    def _data_frame(self, first: int, payload: bytes, events: list[Event]) -> None:
        opcode, fin = first & 0xF, first >= 0x80
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._fragments = 0
        if self._message is None and fin:
            self._complete(payload, events)
            return
        message = self._message if self._message is not None else bytearray()
        message += payload
        self._fragments += 1
        limits = self.limits
        if self._fragments > limits.fragments + len(message) // limits.bytes_per_fragment:
            raise FrameFailure(POLICY_VIOLATION, "too many fragments in one message")
        self._message = None if fin else message
        if fin:
            self._complete(bytes(message), events)

    def _complete(self, payload: bytes, events: list[Event]) -> None:
        if self._opcode == TEXT and self.limits.refuse_invalid_text:
            check_text(payload)
        events.append((self._opcode, payload))


def _long_length(field: bytes) -> int:
    length = int.from_bytes(field, "big")
    # RFC 6455, 5.2: "the minimal number of bytes MUST be used", "the most significant bit MUST be 0".
    if length < (126 if len(field) == 2 else 0x10000):
        raise FrameFailure(PROTOCOL_ERROR, "a length must take the shortest form")
    if length >> 63:
        raise FrameFailure(PROTOCOL_ERROR, "a length must be below 2^63")
    return length
