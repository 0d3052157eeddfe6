"""How a store keeps a publication: its fields as one MessagePack array behind a version byte.

Stream, offset and time are the store's own and stand beside the record, so that a store may give them at the
last moment.
"""

from __future__ import annotations

import msgspec

from gateway.core.publication import Publication

VERSION = b"\1"


class BadRecord(Exception):  # noqa: N818 - says what it is
    """Not a record of this version, or a damaged one."""


class _Record(msgspec.Struct, array_like=True, gc=False):
    topic: str
    id: str
    data: bytes | None
    binary: bytes | None
    content_type: str | None
    headers: dict[str, str] | None
    key: str | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)


def encode_record(publication: Publication) -> bytes:
    """The record of ``publication``."""
    headers = publication.headers
    return VERSION + _encoder.encode(
        _Record(
            publication.topic,
            publication.id,
            publication.data,
            publication.binary,
            publication.content_type,
            None if headers is None else dict(headers),
            publication.key,
        )
    )


def decode_record(record: bytes, stream: str, offset: int, time: int) -> Publication:
    """The publication of a record that ``stream`` keeps under ``offset``, since ``time`` (ms since 1970).

    Raises:
        BadRecord: another version, or damaged.
    """
    if record[:1] != VERSION:
        raise BadRecord(f"record version {record[0] if record else None}, this version reads {VERSION[0]}")
    try:
        fields = _decoder.decode(memoryview(record)[1:])
    except msgspec.MsgspecError as exc:
        raise BadRecord(f"offset {offset} of stream {stream!r} is damaged") from exc
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
    )
