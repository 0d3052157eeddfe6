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

from gateway.codecs.gateway_v1 import MESSAGE_START
from gateway.codecs.gateway_v1_client import Received, decode_event
from gateway.codecs.websocket_frames import iter_payloads, text_head
from gateway.core.messages.publication import FramedPublication
from gateway.core.topics.grammar import TopicLimits, parse_topic
from gateway.errors import BadTopic, ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.core.messages.publication import MessageEncoder, Publication

VERSION = 1
MARK = b"\2"
"""The first byte of a mark."""

_HEAD = Struct("!BBHQI")
_MARK = Struct("!BBHQI?")
_RECORD = Struct("!HII")

_TOPIC_LIMITS = TopicLimits(bytes=0xFFFF, levels=1024)
"""Wider than any node's settings are; the publishing node's own have been kept already."""

_BRACE = ord("}")
_SMALL = 1024
_HEADS = tuple(text_head(size) + MESSAGE_START for size in range(_SMALL))

_MOST_KNOWN_TOPICS = 8192
_LONGEST_KNOWN_TOPIC = 512
_KNOWN_TOPICS: dict[bytes, str] = {}
"""Topics that were found right a moment ago: to look there costs a tenth of looking at the topic."""


class BadPayload(Exception):  # noqa: N818 - says what it is
    """Not a payload of this version, or one cut short."""


@dataclass(frozen=True, slots=True)
class PayloadHead:
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
        partitions: as in ``PayloadHead``.
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


def encode_payload(head: PayloadHead, records: list[bytes]) -> bytes:
    """The payload of ``records``; their number is ``head.count``."""
    node = head.node.encode()
    start = _HEAD.pack(VERSION, len(node), head.partitions, head.first, head.count)
    return b"".join((start, node, *records))


def decode_head(payload: bytes) -> PayloadHead:
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
    if len(payload) < _HEAD.size + length + count * _RECORD.size:
        raise BadPayload("payload cut short")
    return PayloadHead(node, partitions, first, count)


def decode_publications(
    payload: bytes,
    encoder: MessageEncoder,
    refuse: Callable[[str], None],
    read: Callable[[bytes], Publication] | None = None,
) -> Iterator[Publication]:
    """Yield the publications; their frames are in ``encoder``'s format.

    A frame goes to sockets as it is, so each is looked at: whether it is one text frame and its text begins
    and ends as a message does. To parse it would double what a received publication costs.

    Args:
        payload: whose head can be read.
        encoder: of the frames' format.
        refuse: called with the reason in place of a publication that is none; those around it come.
        read: understands a frame when something but the frame is wanted of it; ``read_frame`` if None.

    Raises:
        BadPayload: cut short, or with another number of publications than it says; what came before was
            yielded.
    """
    _, node_length, _, _, count = _HEAD.unpack_from(payload)
    at = _HEAD.size + node_length
    size = len(payload)
    unpack, head_size, read = _RECORD.unpack_from, _RECORD.size, read or read_frame
    heads, small, brace, recall = _HEADS, _SMALL, _BRACE, _KNOWN_TOPICS.get
    found = 0
    while at < size:
        try:
            topic_length, frame_length, data_length = unpack(payload, at)
        except StructError as exc:
            raise BadPayload("payload cut short") from exc
        start = at + head_size
        middle = start + topic_length
        at = middle + frame_length
        if at > size:
            raise BadPayload("payload cut short")
        found += 1
        frame = payload[middle:at]
        head = heads[frame_length] if frame_length < small else text_head(frame_length) + MESSAGE_START
        if (
            data_length >= frame_length
            or not frame.startswith(head)
            or frame[-1] != brace
            or not ((text := frame[len(head) :]).isascii() or _is_text(text))
        ):
            refuse("a publication's frame holds no message")
            continue
        topic = recall(payload[start:middle])
        if topic is None:
            try:
                topic = _read_topic(payload[start:middle])
            except (BadTopic, UnicodeDecodeError) as exc:
                refuse(f"a publication is on no topic: {exc}")
                continue
        data = payload[at - 1 - data_length : at - 1] if data_length else None
        yield FramedPublication(topic, frame, encoder, read, data=data)
    if found != count:
        raise BadPayload(f"a payload of {count} publications, it says, has {found}")


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_topic(text: bytes) -> str:
    topic = parse_topic(text.decode(), _TOPIC_LIMITS)
    if len(_KNOWN_TOPICS) >= _MOST_KNOWN_TOPICS:
        _KNOWN_TOPICS.clear()
    if len(text) <= _LONGEST_KNOWN_TOPIC:
        _KNOWN_TOPICS[text] = topic
    return topic


def read_frame(frame: bytes) -> Publication:
    """The publication that a complete ``message`` frame carries.

    Raises:
        BadPayload: it begins as one does, and is none.
    """
    try:
        received = decode_event(next(iter_payloads(frame)))
    except (ClientError, ValueError) as exc:
        raise BadPayload(f"a publication's frame can't be read: {exc}") from exc
    if not isinstance(received, Received):
        raise BadPayload("a publication's frame holds no message")
    return received.publication
