"""WebSocket frames as a client writes them, and the reading of a server's by their heads."""

from __future__ import annotations

from struct import pack, unpack_from

from websockets.speedups import apply_mask

TEXT = 1
BINARY = 2
PING = 9
PONG = 10

# Any mask will do for a peer on loopback; that it is the same each time changes no server's work.
_MASK = b"\x4d\x61\x73\x6b"


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One complete masked frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 0x10000:
        head = pack("!BBH", 0x80 | opcode, 0xFE, size)
    else:
        head = pack("!BBQ", 0x80 | opcode, 0xFF, size)
    return head + _MASK + apply_mask(payload, _MASK)


class Deframer:
    """Takes a server's bytes apart: opcode and payload of each complete frame."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    @property
    def between_frames(self) -> bool:
        """Whether no part of a frame is held."""
        return not self._held

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that ``data`` completes."""
        if self._held:
            data = self._held + data
        frames: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126 and size >= at + 4:
                length, start = unpack_from("!H", data, at + 2)[0], at + 4
            elif length == 127 and size >= at + 10:
                length, start = unpack_from("!Q", data, at + 2)[0], at + 10
            elif length >= 126:
                break
            if start + length > size:
                break
            frames.append((data[at] & 0x0F, data[start : start + length]))
            at = start + length
        self._held = data[at:]
        return frames
