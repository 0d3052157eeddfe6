"""The frames a ``gateway.v1`` client sends, as msgspec reads them: strict in types, bounds and field names.

An optional field may be null, which is the same as leaving it out; only ``data`` may mean null itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gateway.codecs.publish_items import Label, MessageLimits, PublishItem, publish_of
from gateway.core.messages.commands import (
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
from gateway.errors import BadCommand

if TYPE_CHECKING:
    from gateway.core.messages.publication import Publish

REFERENCE_CHARACTERS = 128
LARGEST_INTEGER = 2**53 - 1
"""The largest that every JSON reader keeps exactly (RFC 8259, 6)."""
CREDIT_MAX = 10_000
DELIVERY_CHARACTERS = 512

Ref: TypeAlias = (
    Annotated[str, Meta(max_length=REFERENCE_CHARACTERS)]
    | Annotated[int, Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
    | None
)
Count = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Positive = Annotated[int, Meta(ge=1, le=LARGEST_INTEGER)]
Credit = Annotated[int, Meta(ge=1, le=CREDIT_MAX)]
Deliveries = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=DELIVERY_CHARACTERS)], ...], Meta(min_length=1)
]


class _PositionShape(msgspec.Struct, forbid_unknown_fields=True):
    """One value of ``resume``."""

    epoch: Label
    offset: Count


class StartShape(msgspec.Struct, forbid_unknown_fields=True):
    """``from`` as an object: exactly one of its fields."""

    offset: Positive | None = None
    time: Count | None = None
    last: Positive | None = None

    def start(self) -> Start:
        """Where to begin.

        Raises:
            BadCommand: none or several of the fields are there.
        """
        given = [
            (name, value) for name in self.__struct_fields__ if (value := getattr(self, name)) is not None
        ]
        if len(given) != 1:
            raise BadCommand("field 'from': exactly one of 'offset', 'time' and 'last'")
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
    start: Literal["new", "earliest"] | StartShape | None = msgspec.field(name="from", default=None)
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
        return Consume(self.stream, self.group, self.filter, self.credit or 32, self.ref)


class _ReleaseFrame(msgspec.Struct, tag_field="op", tag="release", forbid_unknown_fields=True):
    stream: Label
    group: Label
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Release:
        return Release(self.stream, self.group, self.ref)


class _AckFrame(msgspec.Struct, tag_field="op", tag="ack", forbid_unknown_fields=True):
    deliveries: Deliveries
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Acknowledge:
        return Acknowledge(self.deliveries, self.ref)


class _NackFrame(msgspec.Struct, tag_field="op", tag="nack", forbid_unknown_fields=True):
    deliveries: Deliveries
    delay: Count | None = None
    dead: bool | None = None
    ref: Ref = None

    def command(self, _limits: MessageLimits) -> Reject:
        return Reject(self.deliveries, self.delay, bool(self.dead), self.ref)


class _ExtendFrame(msgspec.Struct, tag_field="op", tag="extend", forbid_unknown_fields=True):
    deliveries: Deliveries
    by: Positive
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
