"""What one node tells the others in one go: the publications of a tick in one partition.

    version (1 byte) | length of the node's name (1) | partitions (2) | first number (8) | count (4)
    the node's name
    per publication: length of the topic (2), of the frame (4), of a JSON body in it (4) | topic | frame

Or, where the node has come to a server, a mark: how far it has come in this partition without that server.

    mark (1 byte) | length of the node's name (1) | partitions (2) | next number (8) | unconfirmed (4)
    | moved (1)
    the node's name

All numbers are big-endian. Publications carry the finished ``gateway.v1`` frame, so the receiving node writes
it to its subscribers as it is; a JSON body stands last in it, before the closing brace, and is cut out by its
length (0: the body is binary). A node numbers its publications per partition from 0, so loss can be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library's name is lower case
from typing import TYPE_CHECKING

from gateway.codecs.gateway_v1_client import Received, decode_event
from gateway.codecs.websocket_frames import iter_payloads
from gateway.core.publication import FramedPublication

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.publication import MessageEncoder, Publication

VERSION = 1
MARK = b"\2"
"""The first byte of a mark."""

_HEAD = Struct("!BBHQI")
_MARK = Struct("!BBHQI?")
_RECORD = Struct("!HII")


class BadPayload(Exception):  # noqa: N818 - says what it is
    """Not a payload of this version, or one cut short."""


@dataclass(frozen=True, slots=True)
class Head:
    """Whose publications follow.

    Attributes:
        node: who published them.
        partitions: into how many partitions that node divides the topics.
        first: the number of the first publication; those before it in this partition have smaller ones.
        count: how many there are.
    """

    node: str
    partitions: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a node's numbers have come in a partition, told by the server that it publishes by from now on.

    Attributes:
        node: whose numbers they are.
        partitions: as in ``Head``.
        following: the number that its next publication bears.
        unconfirmed: how many of the last before it were not answered, so that their publishers know.
        moved: the node has published by another server before.
    """

    node: str
    partitions: int
    following: int
    unconfirmed: int
    moved: bool


def encode_mark(mark: Mark) -> bytes:
    """The payload of ``mark``."""
    node = mark.node.encode()
    start = _MARK.pack(MARK[0], len(node), mark.partitions, mark.following, mark.unconfirmed, mark.moved)
    return start + node


def decode_mark(payload: bytes) -> Mark:
    """Read a payload that begins with ``MARK``.

    Raises:
        BadPayload: cut short, or too long.
    """
    try:
        _, length, partitions, following, unconfirmed, moved = _MARK.unpack_from(payload)
        node = payload[_MARK.size :].decode()
    except (StructError, UnicodeDecodeError) as exc:
        raise BadPayload("payload cut short") from exc
    if len(payload) != _MARK.size + length:
        raise BadPayload("a mark of another length than it says")
    return Mark(node, partitions, following, unconfirmed, moved)


def encode_record(publication: Publication, encoder: MessageEncoder) -> bytes:
    """One publication, ready to be joined with others."""
    frame = publication.frame(encoder)
    topic = publication.topic.encode()
    return _RECORD.pack(len(topic), len(frame), len(publication.data or b"")) + topic + frame


def encode_payload(head: Head, records: list[bytes]) -> bytes:
    """The payload of ``records``; their number is ``head.count``."""
    node = head.node.encode()
    start = _HEAD.pack(VERSION, len(node), head.partitions, head.first, head.count)
    return b"".join((start, node, *records))


def decode_head(payload: bytes) -> Head:
    """Read who published, and the numbers.

    Raises:
        BadPayload: another version, or cut short.
    """
    if payload[:1] != b"\1":
        raise BadPayload(f"payload version {payload[0] if payload else None}, this node reads {VERSION}")
    try:
        _, length, partitions, first, count = _HEAD.unpack_from(payload)
        node = payload[_HEAD.size : _HEAD.size + length].decode()
    except (StructError, UnicodeDecodeError) as exc:
        raise BadPayload("payload cut short") from exc
    if len(payload) < _HEAD.size + length:
        raise BadPayload("payload cut short")
    return Head(node, partitions, first, count)


def decode_publications(payload: bytes, encoder: MessageEncoder) -> Iterator[Publication]:
    """Yield the publications; their frames are in ``encoder``'s format.

    Raises:
        BadPayload: cut short; what came before was yielded.
    """
    at = _HEAD.size + payload[1]
    size = len(payload)
    unpack, head_size = _RECORD.unpack_from, _RECORD.size
    while at < size:
        try:
            topic_length, frame_length, data_length = unpack(payload, at)
        except StructError as exc:
            raise BadPayload("payload cut short") from exc
        start = at + head_size
        middle = start + topic_length
        at = middle + frame_length
        if at > size or data_length >= frame_length:
            raise BadPayload("payload cut short")
        data = payload[at - 1 - data_length : at - 1] if data_length else None
        topic = payload[start:middle].decode(errors="replace")
        yield FramedPublication(topic, payload[middle:at], encoder, read_frame, data=data)


def read_frame(frame: bytes) -> Publication:
    """The publication that a complete ``message`` frame carries."""
    received = decode_event(next(iter_payloads(frame)))
    assert isinstance(received, Received), "a node publishes nothing but messages"
    return received.publication
