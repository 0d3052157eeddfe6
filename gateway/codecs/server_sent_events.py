"""The wire format of ``/v1/events``: the pushes of ``gateway.v1`` as server-sent events.

An event's name is the push's ``op`` and its data the same JSON. Only the ``id`` differs from one connection
to the next, since it tells where all of that connection's subscriptions stand. So a publication is encoded
once, without it, behind a small header of our own that says what the event changes; ``EventWriter``, one per
connection, reads the header, leaves it out, and adds the id.

Spec: WHATWG HTML, 9.2 "Server-sent events"; docs/http.md, "Server-sent events".
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import orjson

from gateway.codecs.event_ids import encode_event_id
from gateway.codecs.gateway_v1 import event_fields
from gateway.codecs.websocket_frames import payload_start
from gateway.core.messages.commands import Position
from gateway.core.messages.events import CaughtUp, Gap, GoAway, Subscribed

if TYPE_CHECKING:
    from gateway.codecs.gateway_v1 import GatewayV1
    from gateway.core.catchup.resume_point import ResumePoint
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication

KEEPALIVE: Final = b":\n\n"
"""A comment: every client passes over it."""

_REMEMBERED: Final = 8
_REMEMBERED_BYTES: Final = 64 * 1024

_HEAD: Final = Struct("!BIIHQ")
_HEAD_BYTES: Final = _HEAD.size


class _Change(IntEnum):
    """What an event changes of where the connection's subscriptions stand."""

    NOTHING = 0
    LIVE = 1
    HISTORY = 2
    BEGUN = 3
    CAUGHT_UP = 4
    EPOCH = 5


class ServerSentEvents:
    """The codec, shared by all connections; equal only to itself."""

    name: ClassVar[str] = "server-sent events"

    def __init__(self, codec: GatewayV1) -> None:
        """Take the JSON from ``codec``: what that has encoded already is not encoded again."""
        self._codec = codec

    def encode(self, event: Event) -> bytes:
        """The frame that tells ``event``."""
        fields = event_fields(event)
        text = _event(fields["op"], orjson.dumps(fields))
        match event:
            case Subscribed():
                positions = orjson.dumps(fields["positions"])
                return _frame(_Change.BEGUN, text, positions, event.filter.encode(), event.recovered is True)
            case CaughtUp():
                return _frame(_Change.CAUGHT_UP, text, topic_filter=event.filter.encode())
            case Gap(filter=str(topic_filter), stream=str(stream), last=int(last)):
                return _frame(_Change.HISTORY, text, stream.encode(), topic_filter.encode(), last)
            case Gap(reason="epoch", filter=str(topic_filter), stream=str(stream), epoch=str(epoch)):
                about = orjson.dumps([stream, epoch])
                return _frame(_Change.EPOCH, text, about, topic_filter.encode(), event.offset or 0)
            case GoAway():
                return _frame(_Change.NOTHING, text + retry(event.retry_after))
        return _frame(_Change.NOTHING, text)

    def encode_message(self, publication: Publication) -> bytes:
        """The frame for every live subscriber of ``publication``."""
        frame = publication.frame(self._codec)
        text = _event("message", _one_line(frame[payload_start(frame) :]))
        if publication.stream is None:
            return _frame(_Change.NOTHING, text)
        return _frame(_Change.LIVE, text, publication.stream.encode(), offset=publication.offset or 0)

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:
        """The frame that gives ``publication`` as history to one subscription alone."""
        return self._alone(self._codec.encode_history(publication, topic_filter), publication, topic_filter)

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:
        """The frame that gives ``publication`` to one subscription as its topic's last value."""
        return self._alone(self._codec.encode_snapshot(publication, topic_filter), publication, topic_filter)

    def _alone(self, frame: bytes, publication: Publication, topic_filter: str) -> bytes:
        text = _event("message", _one_line(frame[payload_start(frame) :]))
        stream = (publication.stream or "").encode()
        change = _Change.HISTORY if stream else _Change.NOTHING
        return _frame(change, text, stream, topic_filter.encode(), publication.offset or 0)


class RecentEvents:
    """What was written last, for clients that stand where another one stood and get the same.

    Most clients of a stream do: they differ in no more than when they came. Ids then cost one of them what
    they would cost all.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[bytes, bytes], _Written] = {}

    def get(self, frames: bytes, event_id: bytes) -> _Written | None:
        """What became of ``frames`` for a client whose id was ``event_id``."""
        return self._written.get((frames, event_id))

    def put(self, frames: bytes, event_id: bytes, written: _Written) -> None:
        """Remember it for a while, in place of the oldest."""
        while len(self._written) >= _REMEMBERED:
            del self._written[next(iter(self._written))]
        self._written[frames, event_id] = written


class _Written(NamedTuple):
    text: bytes
    shared: dict[str, Position]
    event_id: bytes


class EventWriter:
    """Makes the frames of one connection what goes over the wire, in order.

    Attributes:
        point: where the connection's subscriptions stand; moves with what is written.
    """

    __slots__ = ("_id", "_recent", "point")

    def __init__(self, point: ResumePoint, recent: RecentEvents) -> None:
        """Write for a client that stands at ``point``; ``recent`` is shared by all clients."""
        self.point = point
        self._recent = recent
        self._id = b""

    def write(self, frames: bytes) -> bytes:
        """Return the events of ``frames``, which may be many, with their ids."""
        point = self.point
        if len(frames) > _REMEMBERED_BYTES or point.apart or not point.complete:
            return self._write(frames)
        # Nobody stands apart: the id says all that there is to know.
        before = self._id
        written = self._recent.get(frames, before)
        if written is None:
            text = self._write(frames)
            if not point.apart:
                self._recent.put(frames, before, _Written(text, dict(point.shared), self._id))
            return text
        point.shared = dict(written.shared)
        self._id = written.event_id
        return written.text

    def _write(self, frames: bytes) -> bytes:
        events: list[bytes] = []
        at = 0
        while at < len(frames):
            change, size, first, second, offset = _HEAD.unpack_from(frames, at)
            at += _HEAD_BYTES
            end = at + first + second + size
            events.append(frames[at + first + second : end])
            if change != _Change.NOTHING:
                about = frames[at : at + first]
                self._follow(change, about, frames[at + first : at + first + second], offset)
                if self.point.complete:
                    self._id = encode_event_id(self.point)
                    if self._id:
                        events.append(b"id: %b\n" % self._id)
            events.append(b"\n")
            at = end
        return b"".join(events)

    def _follow(self, change: int, about: bytes, topic_filter: bytes, offset: int) -> None:
        point = self.point
        if change == _Change.LIVE:
            point.move(about.decode(), offset)
        elif change == _Change.HISTORY:
            point.move_one(topic_filter.decode(), about.decode(), offset)
        elif change == _Change.CAUGHT_UP:
            point.catch_up(topic_filter.decode())
        elif change == _Change.BEGUN:
            positions = {name: Position(**its) for name, its in orjson.loads(about).items()}
            point.begin(topic_filter.decode(), positions, recovered=bool(offset))
        else:
            stream, epoch = orjson.loads(about)
            point.renew(topic_filter.decode(), stream, Position(epoch, offset))


def retry(milliseconds: int) -> bytes:
    """The line that tells a client how long to wait before it comes back."""
    return b"retry: %d\n" % milliseconds


def _frame(
    change: _Change, text: bytes, about: bytes = b"", topic_filter: bytes = b"", offset: int = 0
) -> bytes:
    head = _HEAD.pack(change, len(text), len(about), len(topic_filter), offset)
    return head + about + topic_filter + text


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n" % (name.encode(), data)


def _one_line(json: bytes) -> bytes:
    # A body is embedded as it was published. In valid JSON a raw line end is white space between tokens; here
    # it would end the field.
    if b"\n" in json or b"\r" in json:
        return json.replace(b"\r", b" ").replace(b"\n", b" ")
    return json
