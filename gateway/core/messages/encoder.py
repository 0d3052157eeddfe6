"""A wire format, as far as the core needs it: events and publications in, complete frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.core.messages.publication import MessageEncoder

if TYPE_CHECKING:
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication


class Encoder(MessageEncoder, Protocol):
    """A wire format: all that is told to a client, besides the messages that live subscribers share."""

    def encode(self, event: Event) -> bytes:
        """Return the frame of ``event``."""
        ...

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:
        """Return the frame that gives ``publication`` as history to one subscription alone."""
        ...

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:
        """Return the frame that gives ``publication`` to one subscription as its topic's last value."""
        ...
