"""The items of ``POST /v1/publish``: one message, an array or lines.

Each is what ``decode_publish_item`` reads. Most begin as one did before and are read at a fraction of its
cost, see ``known_heads``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from gateway.codecs.body import DEFAULT_LIMITS, MessageLimits, check_depth, check_utf8
from gateway.codecs.gateway_v1_shapes import REFUSALS, decode_publish_item
from gateway.codecs.known_heads import KnownHeads
from gateway.errors import BadFrame, GatewayError

if TYPE_CHECKING:
    from gateway.core.messages.publication import Publish

_ITEMS: Final = msgspec.json.Decoder(list[Raw])
_WHITESPACE: Final = b" \t\r\n"


class PublishItems:
    """Reads items as ``decode_publish_item`` does, at a fraction of its cost where many begin alike."""

    def __init__(self, limits: MessageLimits) -> None:
        self._limits = limits
        self._heads = KnownHeads(b'{"topic":', limits)

    def split_plain(self, body: bytes, most: int) -> list[tuple[str, bytes]] | None:
        """Topic and data of each item of ``POST /v1/publish``, at most ``most``, if none says anything else.

        None where one does, or begins as none did before, or where they are to be refused.
        """
        plain = self._heads.split_array(body, most)
        if plain is not None:
            return plain
        try:
            items = split_publish_items(body, self._limits)
        except GatewayError:
            return None
        if not 0 < len(items) <= most:
            return None
        plain = []
        for item in items:
            topic_and_data = self._heads.split(item)
            if topic_and_data is None:
                return None
            plain.append(topic_and_data)
        return plain

    def decode(self, raw: bytes) -> Publish:
        """See ``decode_publish_item``."""
        if (publish := self._heads.read(raw)) is not None:
            return publish
        publish = decode_publish_item(raw, self._limits)
        self._heads.note(raw, publish)
        return publish


def split_publish_items(body: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> list[bytes]:
    """Split the body of ``POST /v1/publish``: one object, or an array whose items are judged later.

    Raises:
        BadFrame: the whole is not UTF-8, not JSON, too deep (an array adds one level), or neither of the two.
    """
    text = body.strip(_WHITESPACE)
    if not text.startswith(b"["):
        return [text]
    check_utf8(text)
    check_depth(text, limits.json_depth + 1)
    try:
        return [bytes(item) for item in _ITEMS.decode(text)]
    except REFUSALS as exc:
        raise BadFrame(f"not JSON: {exc}") from exc
