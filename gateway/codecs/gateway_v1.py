"""The wire format ``gateway.v1``: client frames → commands; events and publications → complete server frames.

Frames come out finished, header and all, so that one publication's bytes are shared by all its subscribers.

Spec: docs/protocol.md.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import orjson

from gateway.codecs.body import DEFAULT_LIMITS, MessageLimits
from gateway.codecs.gateway_v1_shapes import (
    DECODER,
    LARGEST_INTEGER,
    REFERENCE_CHARACTERS,
    REFUSALS,
    decode_publish_item,
    explain,
)
from gateway.codecs.known_heads import KnownHeads
from gateway.codecs.websocket_frames import TEXT, payload_start, server_frame
from gateway.core.messages.events import (
    Acked,
    Authenticated,
    CaughtUp,
    Consuming,
    Delivery,
    Failure,
    Gap,
    GoAway,
    Pong,
    Published,
    Released,
    Subscribed,
    Unsubscribed,
    Welcome,
)
from gateway.core.messages.publication import Publish
from gateway.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.messages.commands import Command
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication, Reference

__all__ = ["GatewayV1", "decode_publish_item", "encode_object", "event_fields"]

Fields: TypeAlias = dict[str, Any]

_dumps: Final = orjson.dumps
MESSAGE_START: Final = b'{"op":"message","topic":'
"""How the text of every ``message`` that is no history begins; the topic follows."""
_PUBLISH_START: Final = b'{"op":"publish","topic":'


class GatewayV1:
    """One configured codec, shared by all connections; equal only to itself."""

    name: ClassVar[str] = "gateway.v1"
    opcode: ClassVar[int] = TEXT

    def __init__(
        self,
        *,
        message_bytes: int = DEFAULT_LIMITS.message_bytes,
        json_depth: int = DEFAULT_LIMITS.json_depth,
        header_entries: int = DEFAULT_LIMITS.header_entries,
        header_bytes: int = DEFAULT_LIMITS.header_bytes,
    ) -> None:
        self.limits = MessageLimits(message_bytes, json_depth, header_entries, header_bytes)
        self._heads = KnownHeads(_PUBLISH_START, self.limits)

    def read_plain_publish(self, frame: bytes) -> tuple[str, bytes] | None:
        """See ``Codec``."""
        return self._heads.split(frame)

    def decode(self, frame: bytes) -> Command:
        """Read the text of one client frame.

        The error's ``ref`` is the command's, where one can be read.

        Raises:
            BadFrame: not UTF-8, not JSON, too deep, or not an object.
            BadCommand: an unknown op or field, a missing field, a wrong type or value.
            TooLarge: the published body is over ``message_bytes``.
        Spec: docs/protocol.md, "Client to gateway".
        """
        try:
            command = DECODER.decode(frame).command(self.limits)
        except REFUSALS as exc:
            raise _with_reference(explain(frame, exc, self.limits.json_depth), frame) from exc
        except ClientError as error:
            _with_reference(error, frame)
            raise
        if type(command) is Publish:
            self._heads.note(frame, command)
        return command

    def encode(self, event: Event) -> bytes:
        """The complete frame that tells ``event``."""
        if type(event) is Delivery:
            return server_frame(encode_delivery(event, b'{"op":"delivery",'))
        return server_frame(_dumps(event_fields(event)))

    def encode_message(self, publication: Publication) -> bytes:
        """The complete frame for every live subscriber of ``publication``."""
        return server_frame(_object(MESSAGE_START, publication))

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:
        """The complete frame that gives ``publication`` as history to one subscription alone."""
        return self._encode_alone(publication, _dumps(topic_filter) + b',"topic":')

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:
        """The complete frame that gives ``publication`` to one subscription as its topic's last value."""
        return self._encode_alone(publication, _dumps(topic_filter) + b',"snapshot":true,"topic":')

    def _encode_alone(self, publication: Publication, head: bytes) -> bytes:
        # Many read the same history: the frame for all is made once, and this one differs in its head only.
        frame = publication.frame(self)
        start = payload_start(frame) + len(MESSAGE_START)
        return server_frame(b'{"op":"message","filter":' + head + frame[start:])


def encode_delivery(event: Delivery, start: bytes = b"{") -> bytes:
    """``event`` as a JSON object with the fields of a ``delivery`` behind ``start``, but without frame."""
    publication, token, group, attempt, deadline, fence = event
    head = b'%b"delivery":%b,"group":%b,"attempt":%d,"deadline":%d,"fence":%d,"topic":' % (
        start,
        _dumps(token),
        _dumps(group),
        attempt,
        deadline,
        fence,
    )
    return _object(head, publication.whole())


def encode_object(publication: Publication) -> bytes:
    """``publication`` as a JSON object with the fields of a ``message``, but without ``op`` and frame."""
    return _object(b'{"topic":', publication.whole())


def encode_fields(fields: Fields, publication: Publication) -> bytes:
    """``publication`` as a JSON object behind ``fields``, which have an ``id``: its own is ``message_id``."""
    behind = _object(b"", publication.whole())[len(_dumps(publication.topic)) + len(b',"id":') :]
    head = _dumps(fields | {"topic": publication.topic})[:-1]
    return head + b',"message_id":' + behind


def _object(start: bytes, publication: Publication) -> bytes:
    """``start`` and what follows, from the topic's value to the closing brace.

    The body comes last, where a head can be read without it.
    """
    options = b""
    if publication.content_type is not None:
        options += b',"content_type":' + _dumps(publication.content_type)
    if publication.headers is not None:
        options += b',"headers":' + _dumps(publication.headers)
    if publication.key is not None:
        options += b',"key":' + _dumps(publication.key)
    if publication.stream is not None:
        options += b',"stream":%b,"offset":%d' % (_dumps(publication.stream), publication.offset or 0)
    name, body = b"data", publication.data
    if publication.deleted:
        name, body = b"deleted", b"true"
    elif body is None:
        name, body = b"data_base64", b'"%b"' % b2a_base64(publication.binary or b"", newline=False)
    # In one step: each concatenation would copy what is there already.
    return b'%b%b,"id":%b,"time":%d%b,"%b":%b}' % (
        start,
        _dumps(publication.topic),
        _dumps(publication.id),
        publication.time,
        options,
        name,
        body,
    )


def _with_reference(error: ClientError, frame: bytes) -> ClientError:
    error.ref = _recover_reference(frame)
    return error


def _recover_reference(frame: bytes) -> Reference:
    """The ``ref`` of a refused frame, if the frame is a JSON object and its ``ref`` a legal one."""
    try:
        command = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return None
    ref = command.get("ref") if isinstance(command, dict) else None
    match ref:
        case str() if len(ref) <= REFERENCE_CHARACTERS:
            return ref
        case int() if not isinstance(ref, bool) and abs(ref) <= LARGEST_INTEGER:
            return ref
    return None


# Events: one row per op of docs/protocol.md, "Gateway to client"


def event_fields(event: Event) -> Fields:
    """The frame that tells ``event``, ready for JSON; optional fields without a value are left out."""
    return _ROWS[type(event)](event)


def _welcome(event: Welcome) -> Fields:
    return {
        "op": "welcome",
        "session": event.session,
        "node": event.node,
        "protocol": event.protocol,
        "authenticated": event.authenticated,
        "limits": dict(event.limits),
    }


def _authenticated(event: Authenticated) -> Fields:
    return {"op": "authenticated", "subject": event.subject, "expires": event.expires} | _given(ref=event.ref)


def _subscribed(event: Subscribed) -> Fields:
    positions = {name: {"epoch": at.epoch, "offset": at.offset} for name, at in event.positions.items()}
    fields = {
        "op": "subscribed",
        "filter": event.filter,
        "positions": positions,
        "recovered": event.recovered,
    }
    return fields | _given(ref=event.ref)


def _caught_up(event: CaughtUp) -> Fields:
    return {"op": "caught_up", "filter": event.filter}


def _unsubscribed(event: Unsubscribed) -> Fields:
    return {"op": "unsubscribed", "filter": event.filter} | _given(ref=event.ref)


def _published(event: Published) -> Fields:
    return {"op": "published", "id": event.id} | _given(
        stream=event.stream, offset=event.offset, ref=event.ref
    )


def _consuming(event: Consuming) -> Fields:
    place = {"op": "consuming", "stream": event.stream, "group": event.group}
    return place | {"credit": event.credit, "ack_wait": event.ack_wait} | _given(ref=event.ref)


def _released(event: Released) -> Fields:
    return {"op": "released", "stream": event.stream, "group": event.group} | _given(ref=event.ref)


def _acked(event: Acked) -> Fields:
    return {"op": "acked", "deliveries": event.deliveries, "stale": event.stale} | _given(ref=event.ref)


def _pong(event: Pong) -> Fields:
    return {"op": "pong"} | _given(ref=event.ref)


def _gap(event: Gap) -> Fields:
    span = _given(
        filter=event.filter, stream=event.stream, epoch=event.epoch, offset=event.offset, to=event.last
    ) | ({} if event.first is None else {"from": event.first})
    return {"op": "gap", "reason": event.reason, "dropped": event.dropped} | span


def _goaway(event: GoAway) -> Fields:
    return {"op": "goaway", "reason": event.reason, "retry_after": event.retry_after}


def _error(event: Failure) -> Fields:
    fields = {"op": "error", "code": event.code, "reason": event.reason, "fatal": event.fatal}
    return fields | _given(ref=event.ref)


def _given(**fields: object) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


_ROWS: dict[type, Callable[[Any], Fields]] = {
    Welcome: _welcome,
    Authenticated: _authenticated,
    Subscribed: _subscribed,
    CaughtUp: _caught_up,
    Unsubscribed: _unsubscribed,
    Published: _published,
    Consuming: _consuming,
    Released: _released,
    Acked: _acked,
    Pong: _pong,
    Gap: _gap,
    GoAway: _goaway,
    Failure: _error,
}
