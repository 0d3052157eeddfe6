"""Heads of handshakes that were read before, so that the next like them need no parser.

The clients of one application connect with the same bytes but for the values of a few fields: a key, a
credential, what a proxy says of them. What the parser and the rules made of the first such head is remembered
under everything in it but these values, byte for byte. A later head that is the same in all else can only be
read in the same way, as long as each value is one or more printable characters of ASCII: nothing in them ends
a line, and no rule for heads looks at them, but that for the key, which is asked again.

So this is no second parser: it takes nothing that the parser has not taken before, and whatever is new in any
way goes to that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.transports.websocket.handshake import Handshake, is_key

if TYPE_CHECKING:
    from gateway.transports.http.request_rules import Field

_OPEN_FIELDS: Final = (
    b"Sec-WebSocket-Key|Authorization|Cookie|X-Forwarded-For|X-Real-IP|Forwarded|X-Request-ID|Traceparent"
)
"""Whose values may be others; the parser and ``request_rules`` ask for nothing in them."""

# As clients write the names, or all in lower case, as some proxies do: to let the expression ignore their
# case makes it three times as dear.
_OPEN: Final = re.compile(
    rb"(\r\n(?:" + _OPEN_FIELDS + b"|" + _OPEN_FIELDS.lower() + rb"): )([!-~][ -~]*)(?=\r\n)"
)
_KEY: Final = b"sec-websocket-key"
_SPACE: Final = 0x20
_END: Final = b"\r\n\r\n"
_MOST: Final = 256
_LONGEST: Final = 2048
"""What is remembered of a head has no more bytes; all together, with their fields, some 2 MB."""


class ReadHandshake(NamedTuple):
    """A handshake whose head is complete and keeps to the rules.

    Attributes:
        target: path and query.
        fields: the header fields, their names in lower case.
        handshake: what it asks for.
    """

    target: bytes
    fields: list[Field]
    handshake: Handshake


class KnownHandshakes:
    """What was made of the heads of one server's handshakes; bounded, and begun anew when it is full."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # By what is the same in all of them: what was read, without the values that differ, and their places.
        self._known: dict[tuple[bytes, ...], tuple[ReadHandshake, tuple[int, ...]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, data: bytes) -> ReadHandshake | None:
        """What the parser and the rules would make of ``data``, a connection's first read; None: unknown.

        The caller sees to it that ``data`` is no longer than any of its lines may be.
        """
        parts = _OPEN.split(data)
        values = parts[2::3]
        del parts[2::3]
        known = self._known.get(tuple(parts))
        if known is None:
            return None
        (target, blank, handshake), places = known
        fields = blank.copy()
        for place, value in zip(places, values, strict=True):
            if value[-1] == _SPACE:
                return None  # it is no part of the value, and the parser's to take away
            name = fields[place][0]
            fields[place] = (name, value)
            if name == _KEY:
                if not is_key(value):
                    return None
                handshake = Handshake(value, handshake.subprotocols, handshake.extensions)
        return ReadHandshake(target, fields, handshake)

    def note(self, data: bytes, read: ReadHandshake) -> None:
        """Remember that ``data``, all that a connection had sent, was read as ``read``."""
        parts = _OPEN.split(data)
        values = parts[2::3]
        del parts[2::3]
        if sum(map(len, parts)) > _LONGEST or data.find(_END) != len(data) - len(_END):
            return
        blank, places = read.fields.copy(), []
        names = [part[2:-2].lower() for part in parts[1::2]]
        if _KEY not in names:
            return
        for name, value in zip(names, values, strict=True):
            found = [place for place, field in enumerate(read.fields) if field[0] == name]
            if len(found) != 1 or read.fields[found[0]][1] != value:
                return  # of a field that comes twice, one client would be given another's
            blank[found[0]] = (name, b"")
            places += found
        if len(self._known) >= _MOST:
            self._known.clear()
        kept = ReadHandshake(read.target, blank, read.handshake._replace(key=b""))
        self._known[tuple(parts)] = (kept, tuple(places))
