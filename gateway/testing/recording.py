"""What was published, or handed to one connection: kept as it went by, read when a test asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.client.incoming import Incoming, decode_frame
from gateway.client.message import message_of
from gateway.codecs.websocket_frames import iter_payloads
from gateway.core.messages.events import Delivery
from gateway.core.topics.grammar import matches

if TYPE_CHECKING:
    from gateway.client import Message
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.publication import Publication

MOST_MESSAGES: Final = 100_000
"""That one recording keeps: a test that has more is told, and not shown some of them."""


class Recording:
    """Messages in the order in which they went by."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._unread: list[bytes] = []
        self._left_out = 0

    def add(self, publication: Publication) -> None:
        """Note what was published."""
        self._keep(message_of(publication))

    def listen(self, outbox: Outbox) -> None:
        """Note what is written to the connection of ``outbox``."""
        write = outbox.write

        def write_noted(frames: bytes) -> None:
            self._unread.append(frames)
            write(frames)

        outbox.write = write_noted

    def messages(self, topic_filter: str) -> list[Message]:
        """Those that match.

        Raises:
            RuntimeError: there were more than are kept.
        """
        for frames in self._unread:
            for payload in iter_payloads(frames):
                event = decode_frame(payload)
                if isinstance(event, Incoming):
                    self._keep(event.message)
                elif isinstance(event, Delivery):
                    self._keep(message_of(event.publication))
        self._unread.clear()
        if self._left_out:
            raise RuntimeError(f"more than {MOST_MESSAGES} messages went by, too many to be kept for a test")
        return [each for each in self._messages if matches(topic_filter, each.topic)]

    def _keep(self, message: Message) -> None:
        if len(self._messages) < MOST_MESSAGES:
            self._messages.append(message)
        else:
            self._left_out += 1
