"""permessage-deflate on the way in, for whoever has it negotiated; the library's extension does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Frame, Opcode

from gateway.transports.websocket.closing import MESSAGE_TOO_BIG, PROTOCOL_ERROR, FrameFailure

if TYPE_CHECKING:
    from websockets.extensions import Extension


class DeflateInflater:
    """An ``Inflater`` over a negotiated extension of the ``websockets`` library.

    It stops inflating at the limit: a bomb costs what a message may cost, not what it would become.
    """

    __slots__ = ("_extension",)

    def __init__(self, extension: Extension) -> None:
        self._extension = extension

    def inflate(self, opcode: int, payload: bytes, *, fin: bool, rsv1: bool, most: int) -> bytes:
        """See ``Inflater``."""
        frame = Frame(Opcode(opcode), payload, fin, rsv1)
        try:
            # A limit of 0 means none to zlib.
            decoded = self._extension.decode(frame, max_size=max(most, 1))
        except PayloadTooBig:
            raise FrameFailure(MESSAGE_TOO_BIG, "the message is too large when inflated") from None
        except ProtocolError:
            raise FrameFailure(PROTOCOL_ERROR, "the message can't be inflated") from None
        data = bytes(decoded.data)
        if len(data) > most:
            raise FrameFailure(MESSAGE_TOO_BIG, "the message is too large when inflated")
        return data
