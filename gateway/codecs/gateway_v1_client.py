"""The client's side of ``gateway.v1``: commands → JSON text, the gateway's frames → events and publications.

Lenient where the gateway is strict: fields and ops this version does not know are passed over, so that an old
client keeps working with a new gateway.

Spec: docs/protocol.md.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import orjson
from msgspec import Raw, Struct, field

from gateway.codecs.gateway_v1_commands import command_fields
from gateway.codecs.gateway_v1_shapes import REFUSALS, explain
from gateway.core.messages.commands import Position
from gateway.core.messages.events import (
    Acked,
    Authenticated,
    CaughtUp,
    Consuming,
    Delivery,
    Event,
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
from gateway.core.messages.publication import Publication
from gateway.errors import BadCommand

if TYPE_CHECKING:
    from gateway.core.messages.commands import Command

Ref: TypeAlias = str | int | None

# A frame of the gateway's nests the publisher's data one level deeper than it may be by itself.
_DEPTH = 1024


@dataclass(frozen=True, slots=True)
class Received:
    """A ``message``; with ``filter`` it is history for that one subscription, without for every live one.

    With ``snapshot`` it is the last value of its topic, and what it had before is not told.
    """

    publication: Publication
    filter: str | None = None
    snapshot: bool = False


def encode_command(command: Command) -> str:
    """The text of the frame that asks for ``command``; what is default is left out.

    Raises:
        BadCommand: it holds what JSON cannot carry, such as a lone surrogate.
    """
    try:
        return orjson.dumps(command_fields(command)).decode()
    except orjson.JSONEncodeError as exc:
        raise BadCommand(f"not JSON: {exc}") from exc


def decode_event(frame: str | bytes) -> Event | Received | None:
    """Read the text of one frame; None if this version does not know its op.

    Raises:
        BadFrame: not UTF-8, not JSON, or not an object.
        BadCommand: a field of a known op is missing or has a wrong type.
    """
    text = frame.encode(errors="surrogatepass") if isinstance(frame, str) else frame
    try:
        reader = _READERS.get(_OP.decode(text).op)
        return None if reader is None else reader.decode(text).event()
    except REFUSALS as exc:
        raise explain(text, exc, _DEPTH) from exc


class _Op(Struct):
    op: str


class _Welcome(Struct, tag_field="op", tag="welcome"):
    session: str
    node: str
    authenticated: bool
    protocol: str = "gateway.v1"
    limits: dict[str, Any] = {}

    def event(self) -> Welcome:
        # A later gateway may tell limits that are no numbers.
        limits = {name: value for name, value in self.limits.items() if isinstance(value, int)}
        return Welcome(self.session, self.node, self.authenticated, limits, self.protocol)


class _Authenticated(Struct, tag_field="op", tag="authenticated"):
    subject: str | None = None
    expires: int | None = None
    ref: Ref = None

    def event(self) -> Authenticated:
        return Authenticated(self.subject, self.expires, self.ref)


class _At(Struct):
    epoch: str
    offset: int


class _Subscribed(Struct, tag_field="op", tag="subscribed"):
    filter: str
    positions: dict[str, _At] = {}
    recovered: bool | None = None
    ref: Ref = None

    def event(self) -> Subscribed:
        positions = {stream: Position(at.epoch, at.offset) for stream, at in self.positions.items()}
        return Subscribed(self.filter, positions, self.recovered, self.ref)


class _CaughtUp(Struct, tag_field="op", tag="caught_up"):
    filter: str

    def event(self) -> CaughtUp:
        return CaughtUp(self.filter)


class _Unsubscribed(Struct, tag_field="op", tag="unsubscribed"):
    filter: str
    ref: Ref = None

    def event(self) -> Unsubscribed:
        return Unsubscribed(self.filter, self.ref)


class _Published(Struct, tag_field="op", tag="published"):
    id: str
    stream: str | None = None
    offset: int | None = None
    ref: Ref = None

    def event(self) -> Published:
        return Published(self.id, self.stream, self.offset, self.ref)


class _Acked(Struct, tag_field="op", tag="acked"):
    deliveries: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    ref: Ref = None

    def event(self) -> Acked:
        return Acked(self.deliveries, self.stale, self.ref)


class _Pong(Struct, tag_field="op", tag="pong"):
    ref: Ref = None

    def event(self) -> Pong:
        return Pong(self.ref)


class _Gap(Struct, tag_field="op", tag="gap"):
    reason: str
    filter: str | None = None
    dropped: int | None = None
    stream: str | None = None
    first: int | None = field(name="from", default=None)
    last: int | None = field(name="to", default=None)
    epoch: str | None = None
    offset: int | None = None

    def event(self) -> Gap:
        span = self.stream, self.first, self.last, self.epoch, self.offset
        return Gap(self.reason, self.filter, self.dropped, *span)


class _GoAway(Struct, tag_field="op", tag="goaway"):
    reason: str = ""
    retry_after: int = 0

    def event(self) -> GoAway:
        return GoAway(self.reason, self.retry_after)


class _Error(Struct, tag_field="op", tag="error"):
    code: str
    reason: str = ""
    fatal: bool = False
    ref: Ref = None

    def event(self) -> Failure:
        return Failure(self.code, self.reason, self.fatal, self.ref)


class _Message(Struct, tag_field="op", tag="message"):
    topic: str
    id: str
    time: int
    data: Raw = Raw()
    data_base64: str | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    key: str | None = None
    stream: str | None = None
    offset: int | None = None
    filter: str | None = None
    deleted: bool = False
    snapshot: bool = False

    def event(self) -> Received:
        return Received(self.publication(), self.filter, self.snapshot)

    def publication(self) -> Publication:
        return Publication(
            self.topic,
            self.id,
            time=self.time,
            data=None if self.deleted else bytes(self.data) or None,
            binary=self._binary(),
            content_type=self.content_type,
            headers=self.headers,
            key=self.key,
            stream=self.stream,
            offset=self.offset,
            deleted=self.deleted,
        )

    def _binary(self) -> bytes | None:
        if self.deleted:
            return None
        if self.data_base64 is None:
            if not bytes(self.data):
                raise BadCommand("a message with none of 'data', 'data_base64' and 'deleted'")
            return None
        try:
            return b64decode(self.data_base64, validate=True)
        except ValueError as exc:
            raise BadCommand(f"field 'data_base64': {exc}") from exc


class _Delivery(_Message, tag_field="op", tag="delivery", kw_only=True):
    delivery: str
    group: str
    attempt: int
    deadline: int
    fence: int

    def event(self) -> Delivery:  # type: ignore[override]  # a message with more to it
        return Delivery(
            self.publication(), self.delivery, self.group, self.attempt, self.deadline, self.fence
        )


class _Consuming(Struct, tag_field="op", tag="consuming"):
    stream: str
    group: str
    credit: int
    ack_wait: int
    ref: Ref = None

    def event(self) -> Consuming:
        return Consuming(self.stream, self.group, self.credit, self.ack_wait, self.ref)


class _Released(Struct, tag_field="op", tag="released"):
    stream: str
    group: str
    ref: Ref = None

    def event(self) -> Released:
        return Released(self.stream, self.group, self.ref)


_OP = msgspec.json.Decoder(_Op)
_READERS: dict[str, msgspec.json.Decoder[Any]] = {
    "welcome": msgspec.json.Decoder(_Welcome),
    "authenticated": msgspec.json.Decoder(_Authenticated),
    "subscribed": msgspec.json.Decoder(_Subscribed),
    "caught_up": msgspec.json.Decoder(_CaughtUp),
    "unsubscribed": msgspec.json.Decoder(_Unsubscribed),
    "published": msgspec.json.Decoder(_Published),
    "consuming": msgspec.json.Decoder(_Consuming),
    "released": msgspec.json.Decoder(_Released),
    "delivery": msgspec.json.Decoder(_Delivery),
    "acked": msgspec.json.Decoder(_Acked),
    "pong": msgspec.json.Decoder(_Pong),
    "gap": msgspec.json.Decoder(_Gap),
    "goaway": msgspec.json.Decoder(_GoAway),
    "error": msgspec.json.Decoder(_Error),
    "message": msgspec.json.Decoder(_Message),
}
