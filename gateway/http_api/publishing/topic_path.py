"""The topic in a URL path, read from the bytes the client sent.

``scope["path"]`` will not do: servers decode it leniently, so bytes that are no UTF-8 would turn into
other characters, and a topic that nobody named would be published to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor

from gateway.errors import BadTopic, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class _AnyText(Convertor[str]):
    """Everything, line ends too, which Starlette's ``path`` convertor leaves out."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("topic", _AnyText())


def topic_from_path(scope: Mapping[str, Any], prefix: str) -> str:
    """Return what follows ``prefix`` in the request's path, percent-decoded once.

    Empty levels and a trailing slash count. Whether it is a valid topic is the publisher's to judge.

    Raises:
        BadTopic: a broken escape, bytes that are not UTF-8, or a level ``.`` or ``..``, which clients
            and proxies on the way may take for a step in a path.
        NotFound: the prefix itself was percent-encoded.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw is None:  # ASGI: optional
        return _without_dots(str(scope["path"]).removeprefix(scope.get("root_path", "") + prefix))
    raw = raw.partition(b"?")[0]
    whole_prefix = (scope.get("root_path", "") + prefix).encode()
    if not raw.startswith(whole_prefix):
        raise NotFound(f"the path must begin with {prefix!r} as it is")
    return _without_dots(_decoded(raw[len(whole_prefix) :]))


def _decoded(raw: bytes) -> str:
    if b"%" in raw and _BROKEN_ESCAPE.search(raw):
        raise BadTopic("a '%' in a path must be followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadTopic("the topic in the path is not UTF-8") from None


def _without_dots(topic: str) -> str:
    if "." in topic and not {".", ".."}.isdisjoint(topic.split("/")):
        raise BadTopic(f"topic {topic[:100]!r}: the levels '.' and '..' are not taken over HTTP")
    return topic
