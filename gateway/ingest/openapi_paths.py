"""The part of ``/openapi.json`` about publishing, the WebSocket's handshake, and what operators ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ingest.json_schema import ANY_TEXT, LABEL, TOPIC, Schema, reference
from gateway.ingest.openapi_operations import (
    answer,
    header_parameter,
    path_parameter,
    problems,
    response,
    retry_later,
)
from gateway.ingest.rest import NDJSON_MEDIA_TYPE, PUBLISH_PATH, TOPICS_PREFIX

if TYPE_CHECKING:
    from gateway.ingest.limits import IngestLimits


def paths(limits: IngestLimits) -> Schema:
    """Return these paths."""
    return {
        TOPICS_PREFIX + "{topic}": {"post": _publish_to_topic(limits)},
        PUBLISH_PATH: {"post": _publish_items(limits)},
        "/v1/hooks/{hook}": {"post": _receive_webhook(limits)},
        "/v1/ws": {"get": _connect()},
        "/livez": {"get": _probe("livez", "Whether the process answers.", "Liveness", unready=True)},
        "/readyz": {"get": _probe("readyz", "Whether to send traffic here.", "Readiness", unready=True)},
        "/metrics": {"get": _metrics()},
        "/openapi.json": {"get": _document("openapi", "This description.")},
        "/asyncapi.json": {"get": _document("asyncapi", "The WebSocket protocol's description.")},
    }


def _publish_to_topic(limits: IngestLimits) -> Schema:
    return {
        "operationId": "publishToTopic",
        "tags": ["publishing"],
        "summary": "Publish the body as it is",
        "description": (
            f"At most {limits.message.message_bytes} bytes of any content type. JSON is checked and "
            "handed on as sent, text becomes a JSON string, everything else stays binary. `Gateway-Header-*` "
            "headers become the message's own."
        ),
        "parameters": [
            path_parameter(
                "topic",
                "The topic; its slashes may be written as they are. Percent-encoding is decoded once. "
                "The levels `.` and `..` are refused.",
                TOPIC,
                example="orders",
            ),
            header_parameter("Idempotency-Key", "A repeat with the same key gets the first answer.", LABEL),
            header_parameter(
                "Gateway-Key", "What the message is about, for ordering in consumer groups.", LABEL
            ),
        ],
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {"schema": {}, "example": {"total": 42}},
                "text/plain": {"schema": ANY_TEXT, "example": "hello"},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "201": answer("Stored", "A stream stored it."),
            "202": answer("Live", "It was handed to the live fan-out."),
            **problems(400, 401, 403, 404, 409, 413, 429, 503, 507),
        },
    }


def _publish_items(limits: IngestLimits) -> Schema:
    item = reference("Item")
    several = {"type": "array", "items": item, "maxItems": limits.batch_items}
    example = {"topic": "orders/eu/created", "data": {"total": 42}}
    return {
        "operationId": "publishItems",
        "tags": ["publishing"],
        "summary": "Publish one message, several, or a stream of them",
        "description": (
            f"One item, an array of at most {limits.batch_items} items and {limits.batch_bytes} bytes, or a "
            "stream of lines with one item each, of any length. Each item may fail alone. A stream stops at "
            "the first line that finds the gateway unavailable."
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [item, several]}, "example": [example]},
                NDJSON_MEDIA_TYPE: {
                    "schema": ANY_TEXT,
                    "example": '{"topic":"a","data":1}\n{"topic":"a","data":2}\n',
                },
            },
        },
        "responses": {
            "200": response(
                "One result per item, or for a stream how many lines were accepted.",
                {"anyOf": [reference("Results"), reference("LinesSummary")]},
            ),
            **problems(400, 401, 403, 413, 429, 503),
        },
    }


def _receive_webhook(limits: IngestLimits) -> Schema:
    return {
        "operationId": "receiveWebhook",
        "tags": ["webhooks"],
        "summary": "Take a third party's signed webhook",
        "description": (
            f"At most {limits.hook_bytes} bytes, verified as the hook's scheme demands, then published on "
            "the topic that the hook's template makes of headers and body. A delivery seen before is "
            "answered as before and not published again."
        ),
        "security": [{}],
        "parameters": [
            path_parameter(
                "hook",
                "The name of a configured hook.",
                {"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"},
                example="github",
            )
        ],
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {"schema": {}, "example": {"zen": "Keep it logically awesome."}},
                "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "200": answer("Challenge", "A Slack URL verification; nothing was published."),
            "201": answer("Stored", "A stream stored it."),
            "202": answer("Live", "It was handed to the live fan-out."),
            **problems(400, 401, 403, 404, 413, 429, 503, 507),
        },
    }


def _connect() -> Schema:
    return {
        "operationId": "connect",
        "tags": ["websocket"],
        "summary": "Open a WebSocket",
        "description": "Subprotocol `gateway.v1`; see `/asyncapi.json`.",
        "responses": {
            "101": {"description": "Switched to WebSocket."},
            **problems(400, 401, 403, 404, 426, 429, 503),
        },
    }


def _probe(name: str, summary: str, schema: str, *, unready: bool = False) -> Schema:
    responses: Schema = {"200": answer(schema, "Yes."), **problems(400, 403)}
    if unready:
        responses["503"] = retry_later(answer(schema, "No."))
    return {
        "operationId": name,
        "tags": ["operations"],
        "summary": summary,
        "security": [{}],
        "responses": responses,
    }


def _metrics() -> Schema:
    return {
        "operationId": "metrics",
        "tags": ["operations"],
        "summary": "Metrics for Prometheus.",
        "responses": {
            "200": response("The text exposition format.", ANY_TEXT, "text/plain"),
            **problems(400, 401, 403),
        },
    }


def _document(name: str, summary: str) -> Schema:
    return {
        "operationId": name,
        "tags": ["operations"],
        "summary": summary,
        "security": [{}],
        "responses": {"200": response("A JSON document.", {"type": "object"}), **problems(400, 403)},
    }
