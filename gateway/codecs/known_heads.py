"""What publishes began with, so that the next one that begins so is read at a fraction of the cost.

Most publishers say the same again and again but for the body: ``{"op":"publish","topic":"a","data":``. Where
a text begins so, and what follows but for the closing brace is one JSON value, the whole is an object with
these fields and no other, so nothing but that value has to be judged.

Only the shortest form is remembered, as every JSON writer for machines writes it: any other is read the
long way, which tells too what is wrong with a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from gateway.codecs.body import check_depth
from gateway.core.messages.publication import Publish
from gateway.errors import BadFrame

if TYPE_CHECKING:
    from gateway.codecs.body import MessageLimits

# Publishers choose topics, so these bound memory too: 15 MB at the most, of each of the two that a node has.
_HEADS = 16384
_LONGEST_HEAD: Final = 256

_DATA: Final = b',"data":'
_BRACE: Final = ord("}")
_WHITESPACE: Final = b" \t\r\n"
_loads: Final = orjson.loads


class KnownHeads:
    """The texts before ``,"data":`` that are known to give the topic and nothing else."""

    __slots__ = ("_most_bytes", "_most_levels", "_shallow_bytes", "_start", "_topics")

    def __init__(self, start: bytes, limits: MessageLimits) -> None:
        """Know none; each begins with ``start``, up to the topic's value."""
        self._start = start
        self._most_bytes = limits.message_bytes
        self._most_levels = limits.json_depth - 1  # the object around it is one
        self._shallow_bytes = 2 * limits.json_depth  # less can't be too deep
        self._topics: dict[bytes, str] = {}

    def read(self, text: bytes) -> Publish | None:
        """The command that ``text`` stands for, or None: then it is to be read in another way."""
        plain = self.split(text)
        return None if plain is None else Publish(*plain)

    def split(self, text: bytes) -> tuple[str, bytes] | None:
        """As ``read``, but the command's topic and data alone: it says nothing else."""
        head, _, rest = text.partition(_DATA)
        topic = self._topics.get(head)
        if topic is None or text[-1] != _BRACE:
            return None
        data = rest[:-1].strip(_WHITESPACE)
        return (topic, data) if self._accepts(data) else None

    def split_array(self, text: bytes, most: int) -> list[tuple[str, bytes]] | None:
        """As ``split``, for each of at most ``most`` in an array with nothing but commas between them.

        It is cut wherever one may begin, without a look at what is a string or within another value: if each
        piece has a known head and one JSON value, the whole is an array of these, and JSON has no second
        reading.
        """
        start = self._start
        if not text.startswith(b"[" + start) or not text.endswith(b"}]"):
            return None
        pieces = text[len(start) + 1 : -2].split(b"}," + start, most)
        if len(pieces) > most:
            return None
        found, last, topic = [], b"", None
        for piece in pieces:
            head, _, rest = piece.partition(_DATA)
            # Most arrays go to few topics, and then mostly to one.
            if head != last:
                last, topic = head, self._topics.get(start + head)
            data = rest.strip(_WHITESPACE)
            if topic is None or not self._accepts(data):
                return None
            found.append((topic, data))
        return found

    def _accepts(self, data: bytes) -> bool:
        """Whether ``data`` is one JSON value, within the bounds that ``check_data`` holds other texts to."""
        size = len(data)
        if size > self._most_bytes:
            return False
        try:
            if size >= self._shallow_bytes:
                check_depth(data, self._most_levels)
            _loads(data)
        except (BadFrame, orjson.JSONDecodeError):
            return False
        return True

    def note(self, text: bytes, publish: Publish) -> None:
        """Remember how ``text`` begins, which was read as ``publish``, if it could have been read here."""
        head = self._start + orjson.dumps(publish.topic)
        data = publish.data
        if data is None or len(head) > _LONGEST_HEAD or text != b"%b%b%b}" % (head, _DATA, data):
            return
        if len(self._topics) >= _HEADS:
            self._topics.clear()
        self._topics[head] = publish.topic
