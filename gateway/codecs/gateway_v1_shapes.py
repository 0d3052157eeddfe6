"""The frames a ``gateway.v1`` client sends, as msgspec reads them: strict in types, bounds and field names.

An optional field may be null, which is the same as leaving it out; only ``data`` may mean null itself.

A message in the shape of a ``publish`` frame is what the socket and ``POST /v1/publish`` have in common.
msgspec leaves its ``data`` unparsed; only there can be what no strict reader saw: broken UTF-8, numbers out
of range, too many levels. So orjson judges that part alone. What msgspec refuses is read once more, slowly,
to tell a broken frame from a wrong command.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from gateway.codecs.body import (
    DEFAULT_LIMITS,
    MessageLimits,
    check_content_type,
    check_data,
    check_headers,
    decode_base64,
    validate_json,
)
from gateway.core.messages.commands import (
    MOST_PER_TOPIC,
    START_NEW,
    Acknowledge,
    Authenticate,
    Consume,
    Extend,
    Overflow,
    Ping,
    Position,
    Reject,
    Release,
    Start,
    StartKind,
    Subscribe,
    Unsubscribe,
)
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand, BadFrame, ClientError

if TYPE_CHECKING:
    from gateway.core.messages.publication import Reference

LABEL_CHARACTERS = 256
REASON_CHARACTERS = 240

Label = Annotated[str, Meta(min_length=1, max_length=LABEL_CHARACTERS)]

_AT_PATH = re.compile(r"(.*) - at (?:`key` in )?`\$\.?(.*)`", re.DOTALL)
_UNKNOWN_OP = re.compile(r"Invalid value '(.*)' - at `\$\.op`", re.DOTALL)
_WORDS = (
    ("Object contains ", ""),
    ("Object missing required ", "missing "),
    ("Expected ", "expected "),
    ("Invalid ", "invalid "),
)
_WHITESPACE = b" \t\r\n"

REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises when it reads."""

REFERENCE_CHARACTERS = 128
LARGEST_INTEGER = 2**53 - 1
"""The largest that every JSON reader keeps exactly (RFC 8259, 6)."""
CREDIT_MAX = 10_000
DELIVERY_CHARACTERS = 512
LONGEST_DELAY = 30 * 86_400_000
"""Milliseconds that anything may be put off: thirty days."""

Ref: TypeAlias = (
    Annotated[str, Meta(max_length=REFERENCE_CHARACTERS)]
    | Annotated[int, Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
    | None
)
Count = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Positive = Annotated[int, Meta(ge=1, le=LARGEST_INTEGER)]
PerTopic = Annotated[int, Meta(ge=1, le=MOST_PER_TOPIC)]
Delay = Annotated[int, Meta(ge=0, le=LONGEST_DELAY)]
Credit = Annotated[int, Meta(ge=0, le=CREDIT_MAX)]
Deliveries = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=DELIVERY_CHARACTERS)], ...], Meta(min_length=1)
]


class PublishItem(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of a publish, types checked; empty ``data`` means that it was not given."""

    topic: str
    data: Raw = Raw()
    data_base64: str | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    id: Label | None = None
    idempotency_key: Label | None = None
    key: Label | None = None
    deleted: bool | None = None
    delay: Delay | None = None


class _PositionShape(msgspec.Struct, forbid_unknown_fields=True):
    """One value of ``resume``."""

    epoch: Label
    offset: Count


class StartShape(msgspec.Struct, forbid_unknown_fields=True):
    """``from`` as an object: exactly one of its fields."""

    offset: Positive | None = None
    time: Count | None = None
    last: Positive | None = None
    last_per_topic: PerTopic | None = None

    def start(self) -> Start:
        """Where to begin.

        Raises:
            BadCommand: none or several of the fields are there.
        """
        given = [
            (name, value) for name in self.__struct_fields__ if (value := getattr(self, name)) is not None
        ]
        if len(given) != 1:
            raise BadCommand("field 'from': exactly one of 'offset', 'time', 'last' and 'last_per_topic'")
        ((name, value),) = given
        return Start(StartKind(name), value)


class _AuthFrame(msgspec.Struct, tag_field="op", tag="auth", forbid_unknown_fields=True):
    token: str
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Authenticate:
        return Authenticate(self.token, self.ref)


class _SubscribeFrame(msgspec.Struct, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    filter: str
    resume: dict[Label, _PositionShape] | None = None
    start: Literal["new", "earliest", "snapshot"] | StartShape | None = msgspec.field(
        name="from", default=None
    )
    overflow: Overflow | None = None
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Subscribe:
        resume = self.resume
        return Subscribe(
            self.filter,
            resume=None
            if resume is None
            else {name: Position(at.epoch, at.offset) for name, at in resume.items()},
            start=self._start(),
            overflow=self.overflow or Overflow.SPILL,
            ref=self.ref,
        )

    def _start(self) -> Start:
        if self.start is None:
            return START_NEW
        return self.start.start() if isinstance(self.start, StartShape) else Start(StartKind(self.start))


class _UnsubscribeFrame(msgspec.Struct, tag_field="op", tag="unsubscribe", forbid_unknown_fields=True):
    filter: str
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Unsubscribe:
        return Unsubscribe(self.filter, self.ref)


class _PublishFrame(PublishItem, tag_field="op", tag="publish", forbid_unknown_fields=True, gc=False):
    ref: Ref = None

    def command(self, limits: MessageLimits) -> Publish:
        return publish_of(self, limits, self.ref)


class _ConsumeFrame(msgspec.Struct, tag_field="op", tag="consume", forbid_unknown_fields=True):
    stream: Label
    group: Label
    filter: str | None = None
    credit: Credit | None = None
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Consume:
        credit = 32 if self.credit is None else self.credit
        return Consume(self.stream, self.group, self.filter, credit, self.ref)


class _ReleaseFrame(msgspec.Struct, tag_field="op", tag="release", forbid_unknown_fields=True):
    stream: Label
    group: Label
    deliveries: Deliveries | None = None
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Release:
        return Release(self.stream, self.group, self.ref, self.deliveries or ())


class _AckFrame(msgspec.Struct, tag_field="op", tag="ack", forbid_unknown_fields=True):
    deliveries: Deliveries
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Acknowledge:
        return Acknowledge(self.deliveries, self.ref)


class _NackFrame(msgspec.Struct, tag_field="op", tag="nack", forbid_unknown_fields=True):
    deliveries: Deliveries
    delay: Delay | None = None
    dead: bool | None = None
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Reject:
        return Reject(self.deliveries, self.delay, bool(self.dead), self.ref)


class _ExtendFrame(msgspec.Struct, tag_field="op", tag="extend", forbid_unknown_fields=True):
    deliveries: Deliveries
    by: Annotated[int, Meta(ge=1, le=LONGEST_DELAY)]
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Extend:
        return Extend(self.deliveries, self.by, self.ref)


class _PingFrame(msgspec.Struct, tag_field="op", tag="ping", forbid_unknown_fields=True):
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Ping:
        return Ping(self.ref)


_Shape: TypeAlias = (
    _AuthFrame
    | _SubscribeFrame
    | _UnsubscribeFrame
    | _PublishFrame
    | _ConsumeFrame
    | _ReleaseFrame
    | _AckFrame
    | _NackFrame
    | _ExtendFrame
    | _PingFrame
)

DECODER: msgspec.json.Decoder[_Shape] = msgspec.json.Decoder(_Shape)


# A message alone

_ITEM = msgspec.json.Decoder(PublishItem)


def decode_publish_item(raw: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> Publish:
    """Read one JSON object: the fields of a ``publish`` frame without ``op`` and ``ref``.

    Raises:
        BadFrame: not UTF-8, not JSON, too deep, or not an object.
        BadCommand: a field is missing, unknown, or has a wrong type or value.
        TooLarge: the body is over ``limits.message_bytes``.
    """
    try:
        item = _ITEM.decode(raw)
    except REFUSALS as exc:
        raise explain(raw, exc, limits.json_depth) from exc
    return publish_of(item, limits)


def _check_deletion(item: PublishItem) -> None:
    # A body and its end at once would leave subscribers to guess which of the two the publisher meant.
    if bytes(item.data) or item.data_base64 is not None:
        raise BadCommand("only one of 'data', 'data_base64' and 'deleted' may be given")
    if item.content_type is not None:
        raise BadCommand("field 'content_type': with 'deleted' there is no body for it to speak of")


def publish_of(item: PublishItem, limits: MessageLimits, ref: Reference = None) -> Publish:
    """Check what types cannot say, and make the command.

    Raises:
        BadFrame: ``data`` is no acceptable JSON, or a decoded body is not what its content type says.
        BadCommand: a value breaks a rule.
        TooLarge: the body is over ``limits.message_bytes``.
    """
    data: bytes | None = None
    binary = None
    if item.content_type is not None:
        check_content_type(item.content_type)
    if item.headers is not None:
        check_headers(item.headers, limits)
    if item.deleted:
        _check_deletion(item)
    elif item.data_base64 is None:
        data = bytes(item.data)
        check_data(data, item.content_type, limits)
    else:
        if bytes(item.data):
            raise BadCommand("only one of 'data', 'data_base64' and 'deleted' may be given")
        body = decode_base64(item.data_base64, item.content_type, limits)
        data, binary = body.data, body.binary
    return Publish(
        item.topic,
        data,
        binary,
        item.content_type,
        item.headers,
        item.id,
        item.idempotency_key,
        item.key,
        ref,
        item.deleted is True,
        item.delay,
    )


def explain(text: bytes, cause: Exception, depth: int) -> ClientError:
    """Say what is wrong with ``text``, which msgspec refused with ``cause`` (one of ``REFUSALS``)."""
    try:
        validate_json(text, depth=depth)
        if not text.lstrip(_WHITESPACE).startswith(b"{"):
            return BadFrame("not a JSON object")
    except BadFrame as exc:
        return exc
    if isinstance(cause, RecursionError):
        return BadFrame("nested deeper than can be read")
    return BadCommand(_readable(str(cause)))


def _readable(text: str) -> str:
    """Put msgspec's words into the protocol's: the field's name first, no path syntax, bounded."""
    if unknown := _UNKNOWN_OP.fullmatch(text):
        text = f"unknown op '{unknown[1]}'"
    else:
        located = _AT_PATH.fullmatch(text)
        field, rule = (f"field '{located[2]}': ", located[1]) if located else ("", text)
        for theirs, ours in _WORDS:
            if rule.startswith(theirs):
                rule = ours + rule.removeprefix(theirs)
        text = field + rule
    text = text.replace("`", "'")
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"
