"""The commands of ``gateway.v1`` as JSON objects: one row per op of docs/protocol.md, "Client to gateway"."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from gateway.core.messages.commands import (
    Acknowledge,
    Authenticate,
    Consume,
    Extend,
    Overflow,
    Ping,
    Reject,
    Release,
    Start,
    StartKind,
    Subscribe,
    Unsubscribe,
)
from gateway.core.messages.publication import Publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.messages.commands import Command

Fields: TypeAlias = dict[str, Any]


def command_fields(command: Command) -> Fields:
    """The frame that asks for ``command``, ready for orjson; fields without a value are left out."""
    op, fields = _ROWS[type(command)]
    given = {name: value for name, value in fields(command).items() if value is not None}
    return {"op": op} | given | ({} if command.ref is None else {"ref": command.ref})


def _auth(command: Authenticate) -> Fields:
    return {"token": command.token}


def _subscribe(command: Subscribe) -> Fields:
    resume = command.resume
    return {
        "filter": command.filter,
        "resume": resume and {name: {"epoch": at.epoch, "offset": at.offset} for name, at in resume.items()},
        "from": _start(command.start),
        "overflow": None if command.overflow is Overflow.SPILL else command.overflow.value,
    }


def _start(start: Start) -> str | Fields | None:
    if start.kind is StartKind.NEW:
        return None
    kind: str = start.kind.value
    return kind if start.kind in {StartKind.EARLIEST, StartKind.SNAPSHOT} else {kind: start.value}


def _unsubscribe(command: Unsubscribe) -> Fields:
    return {"filter": command.filter}


def _publish(command: Publish) -> Fields:
    return {
        "topic": command.topic,
        "content_type": command.content_type,
        "headers": None if command.headers is None else dict(command.headers),
        "id": command.id,
        "idempotency_key": command.idempotency_key,
        "key": command.key,
        "delay": command.delay,
        "data": None if command.data is None else orjson.Fragment(command.data),
        "data_base64": None if command.binary is None else b64encode(command.binary).decode(),
        "deleted": command.deleted or None,
    }


def _consume(command: Consume) -> Fields:
    return {
        "stream": command.stream,
        "group": command.group,
        "filter": command.filter,
        "credit": command.credit,
    }


def _release(command: Release) -> Fields:
    return {"stream": command.stream, "group": command.group, "deliveries": command.deliveries or None}


def _ack(command: Acknowledge) -> Fields:
    return {"deliveries": command.deliveries}


def _nack(command: Reject) -> Fields:
    return {"deliveries": command.deliveries, "delay": command.delay, "dead": command.dead or None}


def _extend(command: Extend) -> Fields:
    return {"deliveries": command.deliveries, "by": command.by}


def _ping(_command: Ping) -> Fields:
    return {}


_ROWS: dict[type, tuple[str, Callable[[Any], Fields]]] = {
    Authenticate: ("auth", _auth),
    Subscribe: ("subscribe", _subscribe),
    Unsubscribe: ("unsubscribe", _unsubscribe),
    Publish: ("publish", _publish),
    Consume: ("consume", _consume),
    Release: ("release", _release),
    Acknowledge: ("ack", _ack),
    Reject: ("nack", _nack),
    Extend: ("extend", _extend),
    Ping: ("ping", _ping),
}
