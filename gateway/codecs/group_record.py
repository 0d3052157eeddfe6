"""How a store keeps what it knows of groups: MessagePack behind a checksum of four bytes, lowest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.groups.deliveries import DeliveryFailure, DeliveryState, TrackedDelivery
from gateway.core.messages.commands import Start, StartKind

if TYPE_CHECKING:
    from collections.abc import Sequence


class BadGroupRecord(Exception):  # noqa: N818 - says what it is
    """Not what was written."""


class GroupHead(NamedTuple):
    """A group but for its deliveries; ``counters`` are its keeper's own."""

    configuration: GroupConfiguration
    life: str
    epoch: str
    counters: Sequence[int]


class _Configuration(msgspec.Struct):
    name: str
    filter: str
    start: tuple[str, int]
    ack_wait: float
    max_deliver: int
    backoff: tuple[float, ...]
    max_in_flight: int
    ordered_by_key: bool
    hold_on_dead: bool
    fair_by: str
    keep_unacked: bool
    dead_max_messages: int
    dead_max_age: float
    paused: bool = False


class _Head(msgspec.Struct, array_like=True):
    configuration: _Configuration
    life: str
    epoch: str
    counters: list[int]


class _Delivery(msgspec.Struct, array_like=True, gc=False):
    state: str
    due: int
    attempts: int
    member: str
    fence: int
    since: int
    failures: list[tuple[int, str]]


_encoder = msgspec.msgpack.Encoder()
_heads = msgspec.msgpack.Decoder(_Head)
_deliveries = msgspec.msgpack.Decoder(_Delivery)


def encode_list(parts: Sequence[str | int]) -> bytes:
    """Many arguments of a script as one, for ``cmsgpack.unpack``: each by itself costs a microsecond."""
    return _encoder.encode(parts)


def encode_group(head: GroupHead) -> bytes:
    """The record of a group."""
    fields = {each: getattr(head.configuration, each) for each in _Configuration.__struct_fields__}
    start = head.configuration.start
    fields["start"] = (start.kind.value, start.value)
    return _sealed(
        _encoder.encode(_Head(_Configuration(**fields), head.life, head.epoch, list(head.counters)))
    )


def decode_group(record: object) -> GroupHead:
    """The opposite of ``encode_group``.

    Raises:
        BadGroupRecord: it is damaged.
    """
    try:
        head = _heads.decode(_opened(record))
        fields = {each: getattr(head.configuration, each) for each in _Configuration.__struct_fields__}
        kind, value = head.configuration.start
        fields["start"] = Start(StartKind(kind), value)
        return GroupHead(GroupConfiguration(**fields), head.life, head.epoch, head.counters)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise BadGroupRecord(str(exc)) from exc


def encode_delivery(delivery: TrackedDelivery) -> bytes:
    """The record of what is known of a delivery, but for its offset."""
    return _sealed(
        _encoder.encode(
            _Delivery(
                delivery.state.value,
                delivery.due,
                delivery.attempts,
                delivery.member,
                delivery.fence,
                delivery.since,
                delivery.failures,  # type: ignore[arg-type]
            )
        ),
        delivery.offset,
    )


def decode_delivery(offset: int, record: object) -> TrackedDelivery:
    """The opposite of ``encode_delivery``.

    Raises:
        BadGroupRecord: it is damaged.
    """
    try:
        found = _deliveries.decode(_opened(record, offset))
        return TrackedDelivery(
            offset,
            state=DeliveryState(found.state),
            due=found.due,
            attempts=found.attempts,
            member=found.member,
            fence=found.fence,
            since=found.since,
            failures=[DeliveryFailure(*each) for each in found.failures],
        )
    except (msgspec.MsgspecError, ValueError) as exc:
        raise BadGroupRecord(str(exc)) from exc


def range_seal(first: int, last: int) -> int:
    """What binds the ends of a range of offsets together."""
    return crc32(b"%d-%d" % (first, last))


def _sealed(content: bytes, offset: int = 0) -> bytes:
    return crc32(content, offset & 0xFFFFFFFF).to_bytes(4, "little") + content


def _opened(record: object, offset: int = 0) -> bytes:
    if not isinstance(record, bytes):
        raise BadGroupRecord("not bytes")
    content = record[4:]
    if crc32(content, offset & 0xFFFFFFFF) != int.from_bytes(record[:4], "little"):
        raise BadGroupRecord("its checksum differs")
    return content
