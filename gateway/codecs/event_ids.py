"""The ``id`` of a server-sent event: where all subscriptions of the connection stand, as one bounded text.

    1!orders:5b0f61d24f1f3a52:42,payments:77ab01c2d3e4f506:7!orders%2Feu=orders:5b0f61d24f1f3a52:12

After the version, the positions that the live subscriptions share, then those of each filter that stands
apart. A browser sends it back in ``Last-Event-ID``, so it holds nothing but visible ASCII. Clients must not
look into it: docs/http.md, "Server-sent events".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from gateway.codecs.gateway_v1_shapes import LARGEST_INTEGER
from gateway.core.catchup.resume_point import ResumePoint
from gateway.core.messages.commands import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_FILTERS: Final = 100
"""Subscriptions of one connection that an id speaks of."""

LONGEST_ID: Final = 8000
"""Bytes of an id at most: with the header's name it fits the 8 KiB that proxies take as one header."""

_VERSION: Final = "1"
_EPOCH_BYTES = 32
_OFFSET_DIGITS = 16
_POSITION: Final = re.compile(r"([A-Za-z0-9._-]{1,64}):([A-Za-z0-9._~%-]{1,128}):([0-9]{1,16})", re.ASCII)
_APART: Final = re.compile(r"([A-Za-z0-9._~%-]+)=(.+)", re.ASCII)


def encode_event_id(point: ResumePoint) -> bytes:
    """Return ``point`` as an id; empty where it knows of no stream."""
    if not point.shared and not point.apart:
        return b""
    parts = [_VERSION, _positions(point.shared)]
    if point.apart:
        parts += [f"{_quoted(each)}={_positions(its)}" for each, its in point.apart.items() if its]
    return "!".join(parts).encode("ascii")


def decode_event_id(text: str) -> ResumePoint | None:
    """Read an id that a client sent back; None if it isn't one of ours."""
    if len(text) > LONGEST_ID:
        return None
    version, *groups = text.split("!")
    if version != _VERSION or not groups:
        return None
    point = ResumePoint()
    try:
        if groups[0]:
            point.shared = _read_positions(groups[0])
        for group in groups[1:]:
            match = _APART.fullmatch(group)
            if match is None:
                return None
            topic_filter = unquote_to_bytes(match[1]).decode()
            if topic_filter in point.apart:
                return None
            point.apart[topic_filter] = _read_positions(match[2])
    except ValueError:
        return None
    return point


def largest_id(subscriptions: Mapping[str, Sequence[str]]) -> int:
    """How long an id can become: where all of ``subscriptions``, streams by filter, stand apart."""
    shared = {stream for streams in subscriptions.values() for stream in streams}
    size = len(_VERSION) + 1 + _room(shared)
    return size + sum(
        len(_quoted(topic_filter)) + 2 + _room(streams) for topic_filter, streams in subscriptions.items()
    )


def _room(streams: Iterable[str]) -> int:
    return sum(len(stream) + _EPOCH_BYTES + _OFFSET_DIGITS + 3 for stream in streams)


def _positions(positions: Mapping[str, Position]) -> str:
    return ",".join([f"{name}:{_quoted(at.epoch)}:{at.offset}" for name, at in positions.items()])


def _read_positions(text: str) -> dict[str, Position]:
    positions: dict[str, Position] = {}
    for part in text.split(","):
        match = _POSITION.fullmatch(part)
        if match is None or match[1] in positions:
            raise ValueError(part)
        offset = int(match[3])
        if offset > LARGEST_INTEGER:
            raise ValueError(part)
        positions[match[1]] = Position(unquote_to_bytes(match[2]).decode(), offset)
    return positions


def _quoted(text: str) -> str:
    return text if text.isascii() and text.isalnum() else quote(text, safe="")
