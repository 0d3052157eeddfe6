"""What a session needs of a wire format, be it text or binary: commands read, events and messages written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.core.messages.encoder import Encoder

if TYPE_CHECKING:
    from gateway.core.messages.commands import Command


class Codec(Encoder, Protocol):
    """One wire format over WebSockets.

    It is configured once and shared by all connections, and equal only to itself: a publication's frame is
    remembered by the codec that made it.
    """

    @property
    def name(self) -> str:
        """The subprotocol that a client asks for."""
        ...

    @property
    def opcode(self) -> int:
        """The kind of frame that its messages travel in: text or binary."""
        ...

    def read_plain_publish(self, frame: bytes) -> tuple[str, bytes] | None:
        """The topic and the JSON body of a ``publish`` that says nothing else, as ``decode`` reads them.

        None where it is anything else, or nothing that is known to be one: ``decode`` tells.
        """
        ...

    def decode(self, frame: bytes) -> Command:
        """Read one message of a client's: the payload of its frame.

        Raises:
            GatewayError: it is no command; the error's ``ref`` is the client's, where one can be read.
        """
        ...
