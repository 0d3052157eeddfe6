"""The schemas of ``/openapi.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import errors
from gateway.ingest.json_schema import (
    ANY_TEXT,
    BASE64,
    COUNT,
    HEADERS,
    LABEL,
    POSITIVE,
    TEXT,
    TOPIC,
    Schema,
    closed_object,
    reference,
)
from gateway.ingest.ndjson import ERRORS_REPORTED

if TYPE_CHECKING:
    from gateway.ingest.limits import IngestLimits


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
        "Id": {**TEXT, "description": "What the gateway or the publisher calls the message."},
        "Live": closed_object(
            {"id": reference("Id")},
            description="Handed to the live fan-out.",
            example={"id": "5f0c2a9b1d-1"},
        ),
        "Stored": closed_object(
            {
                "id": reference("Id"),
                "stream": {**TEXT, "description": "The stream that captured it."},
                "offset": POSITIVE,
            },
            description="Stored in a stream.",
            example={"id": "5f0c2a9b1d-1", "stream": "orders", "offset": 7},
        ),
        "Failed": closed_object(
            {
                "code": reference("Code"),
                "reason": {**TEXT, "description": "The value and the rule that it breaks."},
            },
            description="One item that was refused.",
            example={"code": "bad_topic", "reason": "topic 'a/+': a wildcard is not allowed"},
        ),
        "Results": closed_object(
            {
                "results": {
                    "type": "array",
                    "items": {"anyOf": [reference("Live"), reference("Stored"), reference("Failed")]},
                    "description": "One per item, in order.",
                }
            },
            description="What became of each item.",
            example={
                "results": [{"id": "5f0c2a9b1d-1"}, {"code": "bad_topic", "reason": "topic '': it is empty"}]
            },
        ),
        "Item": _item(limits),
        "LinesSummary": _lines_summary(),
        "Code": {"type": "string", "enum": error_codes()},
        "Problem": _problem(),
        "Liveness": closed_object(
            {
                "status": {"enum": ["alive", "failing"]},
                "failing": {"type": "array", "items": ANY_TEXT},
            },
            optional=["failing"],
            description="The process answers; `failing`: the parts of it for which only a new one helps.",
        ),
        "Readiness": closed_object(
            {
                "status": {"enum": ["ready", "degraded", "starting", "draining", "stalled", "failing"]},
                "away": {"type": "array", "items": ANY_TEXT},
                "failing": {"type": "array", "items": ANY_TEXT},
            },
            optional=["away", "failing"],
            description="Whether to send traffic here; `away`: what is missing while degraded; `failing`: "
            "the parts that fail again and again.",
        ),
        "Challenge": closed_object({"challenge": ANY_TEXT}, description="Slack's question, given back."),
    }


def _item(limits: IngestLimits) -> Schema:
    return {
        "type": "object",
        "description": "One message: exactly one of `data` and `data_base64`.",
        "properties": {
            "topic": TOPIC,
            "data": {"description": "JSON, or a string where `content_type` is `text/*`."},
            "data_base64": BASE64,
            "content_type": {"type": "string", "pattern": "^[ -~]{1,256}$"},
            "headers": {**HEADERS, "maxProperties": limits.message.header_entries},
            "id": LABEL,
            "key": LABEL,
            "idempotency_key": LABEL,
        },
        "required": ["topic"],
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
        "additionalProperties": False,
        "examples": [{"topic": "orders/eu/created", "data": {"total": 42}}],
    }


def _lines_summary() -> Schema:
    failed_line = closed_object({"line": POSITIVE, "code": reference("Code"), "reason": ANY_TEXT})
    return closed_object(
        {
            "accepted": COUNT,
            "failed": COUNT,
            "errors": {"type": "array", "items": failed_line, "maxItems": ERRORS_REPORTED},
            "stopped_at": {
                **POSITIVE,
                "description": "The line that found the gateway unavailable, or the credential expired.",
            },
        },
        optional=["stopped_at"],
        description="What became of a stream of lines.",
        example={
            "accepted": 2,
            "failed": 1,
            "errors": [{"line": 3, "code": "bad_frame", "reason": "not JSON"}],
        },
    )


def _problem() -> Schema:
    return closed_object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": ANY_TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": ANY_TEXT,
            "code": reference("Code"),
        },
        description="RFC 9457.",
        example={
            "type": "urn:fanout-gateway:error:bad_topic",
            "title": "Bad Request",
            "status": 400,
            "detail": "topic 'a/+': a wildcard is not allowed",
            "code": "bad_topic",
        },
    )
