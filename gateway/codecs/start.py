"""Where to begin in a stream, as a text: a query parameter, or an option of the command line.

Spec: docs/http.md, "Reading a stream".
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gateway.codecs.gateway_v1_shapes import LARGEST_INTEGER, StartShape
from gateway.core.messages.commands import MOST_PER_TOPIC, Start, StartKind
from gateway.errors import BadCommand

_NUMBERED: Final = re.compile(r"(?:(time|last|last_per_topic):)?([0-9]{1,16})", re.ASCII)
_decoder: Final = msgspec.json.Decoder(StartShape)


def decode_start(text: str) -> Start:
    """Read a start.

    It is ``new``, ``earliest``, ``snapshot``, ``<offset>``, ``time:<ms>``, ``last:<n>``,
    ``last_per_topic:<n>``, or the protocol's JSON object.

    Raises:
        BadCommand: none of them, or a number out of range.
    """
    if text in {"new", "earliest", "snapshot"}:
        return Start(StartKind(text))
    if text.startswith("{"):
        return _from_object(text)
    if (match := _NUMBERED.fullmatch(text)) is not None:
        kind = StartKind(match[1] or "offset")
        least = 0 if kind is StartKind.TIME else 1
        most = MOST_PER_TOPIC if kind is StartKind.LAST_PER_TOPIC else LARGEST_INTEGER
        if least <= (value := int(match[2])) <= most:
            return Start(kind, value)
    raise BadCommand(
        f"from {text[:64]!r}: it is 'earliest', 'new', 'snapshot', an offset from 1, 'time:<ms>', "
        f"'last:<n>', 'last_per_topic:<n>' with 1 to {MOST_PER_TOPIC}, or an object as in the protocol"
    )


def _from_object(text: str) -> Start:
    try:
        return _decoder.decode(text).start()
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as exc:
        raise BadCommand(f"from {text[:64]!r}: {exc}") from exc
