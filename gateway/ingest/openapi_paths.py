"""The paths of ``/openapi.json``: operations, their parameters, bodies and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.codecs.publish_items import LABEL_CHARACTERS
from gateway.ingest.problems import PROBLEM_MEDIA_TYPE
from gateway.ingest.rest import NDJSON_MEDIA_TYPE, PUBLISH_PATH, TOPICS_PREFIX

if TYPE_CHECKING:
    from gateway.ingest.limits import IngestLimits

Schema = dict[str, Any]

_REASONS = {
    400: "The topic, the body, a header or the request's host is wrong.",
    401: "No credential, or one that is not right.",
    403: "Not granted, or from a page of another origin.",
    404: "Not found.",
    408: "The request's head took too long.",
    409: "The idempotency key was used with another topic or body, or is in use right now.",
    413: "Too large.",
    426: "Not a WebSocket handshake.",
    429: "Too much at once; try again later.",
    431: "The request's head is too large.",
    503: "It can't be done now; try again later.",
    507: "The store of streams has no room; nothing was stored.",
}


def paths(limits: IngestLimits) -> Schema:
    """Return all paths."""
    return {
        TOPICS_PREFIX + "{topic}": {"post": _publish_to_topic(limits)},
        PUBLISH_PATH: {"post": _publish_items(limits)},
        "/v1/hooks/{hook}": {"post": _receive_webhook(limits)},
        "/v1/ws": {"get": _connect()},
        "/livez": {"get": _probe("livez", "Whether the process answers.", "Liveness")},
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
            {
                "name": "topic",
                "in": "path",
                "required": True,
                "description": (
                    "The topic; its slashes may be written as they are. Percent-encoding is decoded once. "
                    "The levels `.` and `..` are refused."
                ),
                "schema": {"type": "string", "minLength": 1, "pattern": "^[^+#$\\x00][^+#\\x00]*$"},
                "example": "orders",
            },
            _label_header("Idempotency-Key", "A repeat with the same key gets the first answer."),
            _label_header("Gateway-Key", "What the message is about, for ordering in consumer groups."),
        ],
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {"schema": {}, "example": {"total": 42}},
                "text/plain": {"schema": {"type": "string"}, "example": "hello"},
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
    item = {"$ref": "#/components/schemas/Item"}
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
                    "schema": {"type": "string"},
                    "example": '{"topic":"a","data":1}\n{"topic":"a","data":2}\n',
                },
            },
        },
        "responses": {
            "200": {
                "description": "One result per item, or for a stream how many lines were accepted.",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [
                                {"$ref": "#/components/schemas/Results"},
                                {"$ref": "#/components/schemas/LinesSummary"},
                            ]
                        }
                    }
                },
            },
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
            {
                "name": "hook",
                "in": "path",
                "required": True,
                "description": "The name of a configured hook.",
                "schema": {"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"},
                "example": "github",
            }
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
        responses["503"] = {**answer(schema, "No."), "headers": _RETRY_AFTER}
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
            "200": {
                "description": "The text exposition format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **problems(400, 401, 403),
        },
    }


def _document(name: str, summary: str) -> Schema:
    return {
        "operationId": name,
        "tags": ["operations"],
        "summary": summary,
        "security": [{}],
        "responses": {
            "200": {
                "description": "A JSON document.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **problems(400, 403),
        },
    }


_RETRY_AFTER: Schema = {
    "Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer", "minimum": 0}}
}


def problems(*statuses: int) -> Schema:
    """The answers that refuse, by status."""
    return {str(status): _problem(status) for status in statuses}


def _problem(status: int) -> Schema:
    response: Schema = {
        "description": _REASONS[status],
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in {429, 503}:
        response["headers"] = _RETRY_AFTER
    return response


def answer(schema: str, description: str) -> Schema:
    """An answer in JSON, by the name of its schema."""
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _label_header(name: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": LABEL_CHARACTERS},
    }
