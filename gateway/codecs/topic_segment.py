"""How a store keeps a part of an index of topics: MessagePack with its length before it, zeros behind it.

The zeros let a part that gets shorter keep its place.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from gateway.codecs.record import BadRecord

T = TypeVar("T")

Range = tuple[int, int, bool]
"""Offsets that a log can't give, first and last; whether somebody had them removed."""


class Block(msgspec.Struct, array_like=True, gc=False):
    """Some topics of a segment, in order.

    Attributes:
        keys: of the topics.
        places: by topic, its places in the segment, packed.
    """

    keys: list[bytes]
    places: list[bytes]


class Contents(msgspec.Struct, array_like=True, gc=False):
    """What a segment consists of.

    Attributes:
        size: how many offsets each segment of the log has.
        fences: the first key of each block, in order.
        seals: the checksum of each block.
        blocks: the number of each block within the segment.
        holes: the checksum of what is kept of its holes; 0 where there are none.
    """

    size: int
    fences: list[bytes]
    seals: list[int]
    blocks: list[int]
    holes: int


_encode = msgspec.msgpack.Encoder().encode
_blocks = msgspec.msgpack.Decoder(Block)
_contents = msgspec.msgpack.Decoder(Contents)
_ranges = msgspec.msgpack.Decoder(list[Range])


def encode_part(part: Block | Contents | list[Range], length: int = 0) -> bytes:
    """A part in ``length`` bytes, or as many as it takes."""
    content = _encode(part)
    return (len(content).to_bytes(4, "little") + content).ljust(length, b"\0")


def decode_block(part: bytes) -> Block:
    """The block of a part.

    Raises:
        BadRecord: damaged.
    """
    return _decode(_blocks, part)


def decode_contents(part: bytes) -> Contents:
    """The contents of a part.

    Raises:
        BadRecord: damaged.
    """
    return _decode(_contents, part)


def decode_ranges(part: bytes) -> list[Range]:
    """The ranges of a part.

    Raises:
        BadRecord: damaged.
    """
    return _decode(_ranges, part)


def _decode(decoder: msgspec.msgpack.Decoder[T], part: bytes) -> T:
    try:
        return decoder.decode(memoryview(part)[4 : 4 + int.from_bytes(part[:4], "little")])
    except (msgspec.MsgspecError, TypeError) as exc:
        raise BadRecord("a part of an index of topics is damaged") from exc
