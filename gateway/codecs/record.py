"""How a store keeps a publication: a version byte, a checksum, and its fields as one MessagePack array.

Stream, offset and time are the store's own and stand beside the record, so that a store may give them at the
last moment. The checksum is the CRC-32 of the array, four bytes, the lowest first; records of version 1,
which earlier releases wrote, have none.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

import msgspec
import orjson

from gateway.core.messages.publication import Publication

CHECKED = b"\2"
"""The version of records that bear a checksum, in the four bytes that follow."""

_UNCHECKED = b"\1"
_head = Struct("<BI").pack
_CONTENT = 5


class BadRecord(Exception):  # noqa: N818 - says what it is
    """Not a record of a version that can be read, or a damaged one."""


class _Record(msgspec.Struct, array_like=True, gc=False):
    topic: str
    id: str
    data: bytes | None
    binary: bytes | None
    content_type: str | None
    headers: dict[str, str] | None
    key: str | None
    deleted: bool = False
    delay: int | None = None


class _Topic(msgspec.Struct, array_like=True, gc=False):
    topic: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)
_topics = msgspec.msgpack.Decoder(_Topic)


def encode_record(publication: Publication) -> bytes:
    """The record of ``publication``."""
    headers = publication.headers
    fields = _encoder.encode(
        _Record(
            publication.topic,
            publication.id,
            publication.data,
            publication.binary,
            publication.content_type,
            None if headers is None else dict(headers),
            publication.key,
            publication.deleted,
            publication.delay,
        )
    )
    return _head(CHECKED[0], crc32(fields)) + fields


def _whole(fields: _Record, *, checked: bool) -> bool:
    """Whether these are a publication's fields, with a body that may be written into a text frame.

    Without a checksum the body is looked at whole.
    """
    topic, data = fields.topic, fields.data
    if not topic or "\0" in topic or ((data is None) == (fields.binary is None)) != fields.deleted:
        return False
    if data is None or (checked and data.isascii()):
        return True
    try:
        if checked:
            data.decode()
        else:
            orjson.loads(data)
    except ValueError:
        return False
    return True


def topic_of_record(record: bytes) -> str | None:
    """The topic of a record, or None where it is damaged; of the rest only the checksum is looked at."""
    content = memoryview(record)[1:]
    if record[:1] == CHECKED:
        content = content[_CONTENT - 1 :]
        if crc32(content) != int.from_bytes(record[1:_CONTENT], "little"):
            return None
    try:
        return _topics.decode(content).topic or None
    except msgspec.MsgspecError:
        return None


def decode_record(record: bytes, stream: str, offset: int, time: int) -> Publication:
    """The publication of a record that ``stream`` keeps under ``offset``, since ``time`` (ms since 1970).

    Raises:
        BadRecord: another version, or damaged.
    """
    version, content = record[:1], memoryview(record)[1:]
    if version == CHECKED:
        content = content[_CONTENT - 1 :]
        if crc32(content) != int.from_bytes(record[1:_CONTENT], "little"):
            raise BadRecord(f"offset {offset} of stream {stream!r} is damaged")
    elif version != _UNCHECKED:
        raise BadRecord(f"offset {offset} of stream {stream!r}: no record of version 1 or {CHECKED[0]}")
    try:
        fields = _decoder.decode(content)
    except msgspec.MsgspecError as exc:
        raise BadRecord(f"offset {offset} of stream {stream!r} is damaged") from exc
    if not _whole(fields, checked=version == CHECKED):
        raise BadRecord(f"offset {offset} of stream {stream!r} holds no publication")
    return Publication(
        fields.topic,
        fields.id,
        time,
        fields.data,
        fields.binary,
        fields.content_type,
        fields.headers,
        fields.key,
        stream,
        offset,
        fields.deleted,
        fields.delay,
    )
