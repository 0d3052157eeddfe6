"""The schemas of ``/openapi.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway import errors
from gateway.codecs.publish_items import LABEL_CHARACTERS
from gateway.ingest.ndjson import ERRORS_REPORTED

if TYPE_CHECKING:
    from gateway.ingest.limits import IngestLimits

Schema = dict[str, Any]


def error_codes() -> list[str]:
    """Every wire code there is, from the tree of errors."""
    codes: set[str] = set()
    classes: list[type[errors.GatewayError]] = [errors.ClientError, errors.ServerError]
    while classes:
        error = classes.pop()
        codes.add(error.code)
        classes += error.__subclasses__()
    return sorted(codes)


def schemas(limits: IngestLimits) -> Schema:
    """Return all components by name."""
    return {
        "Id": _text("What the gateway or the publisher calls the message."),
        "Live": _object({"id": _ref("Id")}, ["id"], "Handed to the live fan-out.", {"id": "5f0c2a9b1d-1"}),
        "Stored": _object(
            {
                "id": _ref("Id"),
                "stream": _text("The stream that captured it."),
                "offset": {"type": "integer", "minimum": 1},
            },
            ["id", "stream", "offset"],
            "Stored in a stream.",
            {"id": "5f0c2a9b1d-1", "stream": "orders", "offset": 7},
        ),
        "Failed": _object(
            {"code": _ref("Code"), "reason": _text("The value and the rule that it breaks.")},
            ["code", "reason"],
            "One item that was refused.",
            {"code": "bad_topic", "reason": "topic 'a/+': a wildcard is not allowed"},
        ),
        "Results": _object(
            {
                "results": {
                    "type": "array",
                    "items": {"anyOf": [_ref("Live"), _ref("Stored"), _ref("Failed")]},
                    "description": "One per item, in order.",
                }
            },
            ["results"],
            "What became of each item.",
            {"results": [{"id": "5f0c2a9b1d-1"}, {"code": "bad_topic", "reason": "topic '': it is empty"}]},
        ),
        "Item": _item(limits),
        "LinesSummary": _lines_summary(),
        "Code": {"type": "string", "enum": error_codes()},
        "Problem": _problem(),
        "Liveness": _object({"status": {"const": "alive"}}, ["status"], "The process answers."),
        "Readiness": _object(
            {
                "status": {"enum": ["ready", "degraded", "starting", "draining", "stalled"]},
                "away": {"type": "array", "items": {"type": "string"}},
            },
            ["status"],
            "Whether to send traffic here; `away`: what is missing while degraded.",
        ),
        "Challenge": _object(
            {"challenge": {"type": "string"}}, ["challenge"], "Slack's question, given back."
        ),
    }


def _item(limits: IngestLimits) -> Schema:
    label = {"type": "string", "minLength": 1, "maxLength": LABEL_CHARACTERS}
    return {
        "type": "object",
        "description": "One message: exactly one of `data` and `data_base64`.",
        "properties": {
            "topic": {"type": "string", "minLength": 1, "pattern": "^[^+#$\\x00][^+#\\x00]*$"},
            "data": {"description": "JSON, or a string where `content_type` is `text/*`."},
            "data_base64": {"type": "string", "contentEncoding": "base64"},
            "content_type": {"type": "string", "pattern": "^[ -~]{1,256}$"},
            "headers": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "maxProperties": limits.message.header_entries,
            },
            "id": label,
            "key": label,
            "idempotency_key": label,
        },
        "required": ["topic"],
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
        "additionalProperties": False,
        "examples": [{"topic": "orders/eu/created", "data": {"total": 42}}],
    }


def _lines_summary() -> Schema:
    count = {"type": "integer", "minimum": 0}
    line = {"type": "integer", "minimum": 1}
    failed_line = _object(
        {"line": line, "code": _ref("Code"), "reason": {"type": "string"}}, ["line", "code", "reason"]
    )
    return _object(
        {
            "accepted": count,
            "failed": count,
            "errors": {"type": "array", "items": failed_line, "maxItems": ERRORS_REPORTED},
            "stopped_at": {
                **line,
                "description": "The line that found the gateway unavailable, or the credential expired.",
            },
        },
        ["accepted", "failed", "errors"],
        "What became of a stream of lines.",
        {"accepted": 2, "failed": 1, "errors": [{"line": 3, "code": "bad_frame", "reason": "not JSON"}]},
    )


def _problem() -> Schema:
    return _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "code": _ref("Code"),
        },
        ["type", "title", "status", "detail", "code"],
        "RFC 9457.",
        {
            "type": "urn:fanout-gateway:error:bad_topic",
            "title": "Bad Request",
            "status": 400,
            "detail": "topic 'a/+': a wildcard is not allowed",
            "code": "bad_topic",
        },
    )


def _object(properties: Schema, required: list[str], description: str = "", example: Any = None) -> Schema:  # noqa: ANN401
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    if description:
        schema["description"] = description
    if example is not None:
        schema["examples"] = [example]
    return schema


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(description: str) -> Schema:
    return {"type": "string", "minLength": 1, "description": description}
