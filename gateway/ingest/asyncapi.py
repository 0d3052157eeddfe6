"""``/asyncapi.json``: the WebSocket protocol as an AsyncAPI 3 document.

Spec: docs/protocol.md, which also says what no schema can.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from gateway.core.commands import Overflow
from gateway.ingest.json_schema import ANY_TEXT, BASE64, COUNT, HEADERS, POSITIVE, TEXT, TIME, Schema
from gateway.ingest.openapi_schemas import error_codes

if TYPE_CHECKING:
    from gateway.ingest.limits import IngestLimits

_FILTER: Final[Schema] = {
    **TEXT,
    "description": "A topic filter: `+` is one level, `#` at the end is the rest.",
}
_TOPIC: Final[Schema] = {**TEXT, "description": "A topic, without wildcards."}
_POSITION: Final[Schema] = {
    "type": "object",
    "properties": {"epoch": ANY_TEXT, "offset": COUNT},
    "required": ["epoch", "offset"],
}
_POSITIONS: Final[Schema] = {"type": "object", "additionalProperties": _POSITION}


def asyncapi_document(limits: IngestLimits) -> Schema:
    """Return the description of ``/v1/ws`` and its subprotocol ``gateway.v1``."""
    commands, events = _commands(limits), _events()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fanout Gateway, protocol gateway.v1",
            "version": version("fanout-gateway"),
            "description": (
                "One JSON object in each text frame, always with `op`. `/v1/events` sends the same pushes as "
                "server-sent events; see `/openapi.json`."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "gateway": {
                "address": "/v1/ws",
                "description": "A WebSocket; subprotocol `gateway.v1`, also if none is offered.",
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for name in (*commands, *events)
                },
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "receiveCommands": _operation("receive", "What a client asks of the gateway.", commands),
            "sendEvents": _operation("send", "What the gateway tells a client.", events),
        },
        "components": {"messages": {**commands, **events}},
    }


def _operation(action: str, summary: str, messages: Schema) -> Schema:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/gateway"},
        "messages": [{"$ref": f"#/channels/gateway/messages/{name}"} for name in messages],
    }


def _commands(limits: IngestLimits) -> Schema:
    body = {
        "topic": _TOPIC,
        "data": {"description": f"JSON of at most {limits.message.message_bytes} bytes."},
        "data_base64": BASE64,
        "content_type": ANY_TEXT,
        "headers": {**HEADERS, "maxProperties": limits.message.header_entries},
        "id": ANY_TEXT,
        "idempotency_key": ANY_TEXT,
        "key": ANY_TEXT,
    }
    subscribe = {
        "filter": _FILTER,
        "overflow": {"enum": [policy.value for policy in Overflow]},
        "resume": _POSITIONS,
        "from": {"anyOf": [{"enum": ["new", "earliest"]}, {"type": "object"}]},
    }
    return {
        "auth": _command("auth", "Authenticate, or renew.", {"token": ANY_TEXT}, ["token"]),
        "subscribe": _command("subscribe", "Get what matches the filter.", subscribe, ["filter"]),
        "unsubscribe": _command("unsubscribe", "Get it no longer.", {"filter": _FILTER}, ["filter"]),
        "publish": _command("publish", "Publish; `data` or `data_base64`.", body, ["topic"]),
        "ping": _command("ping", "Ask for a `pong`.", {}, []),
    }


def _events() -> Schema:
    nullable_count = {"type": ["integer", "null"], "minimum": 0}
    message = {
        "topic": _TOPIC,
        "id": ANY_TEXT,
        "time": TIME,
        "content_type": ANY_TEXT,
        "headers": HEADERS,
        "key": ANY_TEXT,
        "stream": ANY_TEXT,
        "offset": POSITIVE,
        "filter": _FILTER,
        "data": {"description": "As published; a string for `text/*`."},
        "data_base64": BASE64,
    }
    gap = {
        "reason": {"enum": ["overflow", "trimmed", "epoch", "bus"]},
        "filter": _FILTER,
        "dropped": nullable_count,
        "stream": ANY_TEXT,
        "epoch": ANY_TEXT,
        "from": COUNT,
        "to": COUNT,
    }
    welcome = {
        "session": ANY_TEXT,
        "node": ANY_TEXT,
        "protocol": {"const": "gateway.v1"},
        "authenticated": {"type": "boolean"},
        "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
    }
    subscribed = {"filter": _FILTER, "positions": _POSITIONS, "recovered": {"type": ["boolean", "null"]}}
    identity = {"subject": {"type": ["string", "null"]}, "expires": {"type": ["integer", "null"]}}
    published = {"id": ANY_TEXT, "stream": ANY_TEXT, "offset": POSITIVE}
    error = {"code": {"enum": error_codes()}, "reason": ANY_TEXT, "fatal": {"type": "boolean"}}
    goaway = {"reason": ANY_TEXT, "retry_after": {**COUNT, "description": "Milliseconds."}}
    return {
        "welcome": _event("welcome", "The first frame of every connection.", welcome, list(welcome)),
        "authenticated": _reply("authenticated", "Who the client is.", identity, list(identity)),
        "subscribed": _reply("subscribed", "No later publication is missed.", subscribed, list(subscribed)),
        "caught_up": _event("caught_up", "It has its history and is live.", {"filter": _FILTER}, ["filter"]),
        "unsubscribed": _reply("unsubscribed", "It has ended.", {"filter": _FILTER}, ["filter"]),
        "published": _reply("published", "It was accepted.", published, ["id"]),
        "pong": _reply("pong", "The reply to `ping`.", {}, []),
        "message": _event("message", "A publication.", message, ["topic", "id", "time"]),
        "gap": _event("gap", "Publications this client will not get.", gap, ["reason", "dropped"]),
        "goaway": _event("goaway", "The node drains; reconnect.", goaway, list(goaway)),
        "error": _reply("error", "A refused command, or why the connection closes.", error, list(error)),
    }


def _command(op: str, summary: str, properties: Schema, required: list[str]) -> Schema:
    ref = {"type": ["string", "integer", "null"], "description": "Repeated in the reply."}
    message = _event(op, summary, {**properties, "ref": ref}, required)
    message["payload"]["additionalProperties"] = False
    return message


def _reply(op: str, summary: str, properties: Schema, required: list[str]) -> Schema:
    ref = {"type": ["string", "integer", "null"], "description": "The command's."}
    return _event(op, summary, {**properties, "ref": ref}, required)


def _event(op: str, summary: str, properties: Schema, required: list[str]) -> Schema:
    return {
        "name": op,
        "summary": summary,
        "payload": {
            "type": "object",
            "properties": {"op": {"const": op}, **properties},
            "required": ["op", *required],
        },
    }
