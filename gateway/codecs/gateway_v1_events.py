"""The events of ``gateway.v1`` as JSON objects: one row per op of docs/protocol.md, "Gateway to client"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.core.messages.events import (
    Acked,
    Authenticated,
    CaughtUp,
    Failure,
    Gap,
    GoAway,
    Pong,
    Published,
    Subscribed,
    Unsubscribed,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.messages.events import Event

Fields: TypeAlias = dict[str, Any]


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


def _acked(event: Acked) -> Fields:
    return {"op": "acked", "deliveries": event.deliveries, "stale": event.stale} | _given(ref=event.ref)


def _pong(event: Pong) -> Fields:
    return {"op": "pong"} | _given(ref=event.ref)


def _gap(event: Gap) -> Fields:
    span = _given(filter=event.filter, stream=event.stream, epoch=event.epoch, to=event.last) | (
        {} if event.first is None else {"from": event.first}
    )
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
    Acked: _acked,
    Pong: _pong,
    Gap: _gap,
    GoAway: _goaway,
    Failure: _error,
}
