"""The bounds of publishing over HTTP, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.codecs.body import MessageLimits


@dataclass(frozen=True, slots=True)
class PublishingLimits:
    """What one request may hold; sizes are bytes.

    Attributes:
        message: the bounds of one message, at every door the same.
        batch_items: the most items of an array.
        batch_bytes: the largest JSON body of ``POST /v1/publish``; a stream of lines has no such limit.
        hook_bytes: the largest body of a webhook; ``message_bytes`` bounds it too when it is published.
    """

    message: MessageLimits = field(default_factory=MessageLimits)
    batch_items: int = 1_000
    batch_bytes: int = 8_388_608
    hook_bytes: int = 1_048_576

    @property
    def line_bytes(self) -> int:
        """The longest item in JSON: a message as base64, and 16 KiB and its headers around it."""
        return self.message.message_bytes * 4 // 3 + self.message.header_bytes + 16_384
