"""The streams' part of ``/openapi.json``: paths and schemas."""

from __future__ import annotations

from typing import Any

from gateway.ingest.openapi_paths import answer, problems
from gateway.ingest.stream_queries import (
    EPOCH_CHARACTERS,
    LONGEST_WAIT_SECONDS,
    MESSAGES_PER_PAGE,
    MOST_PER_PAGE,
)
from gateway.ingest.streams import STREAMS_PATH

Schema = dict[str, Any]

_COUNT: Schema = {"type": "integer", "minimum": 0}
_OFFSET: Schema = {"type": "integer", "minimum": 1}
_TIME: Schema = {"type": "integer", "description": "Milliseconds since 1970."}
_SECONDS: Schema = {"type": "number", "exclusiveMinimum": 0, "description": "Seconds."}
_NAME: Schema = {
    "name": "stream",
    "in": "path",
    "required": True,
    "description": "The name of a configured stream.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    "example": "orders",
}


def stream_paths() -> Schema:
    """Return the paths by which streams are looked at and read."""
    return {
        STREAMS_PATH: {"get": _list_streams()},
        STREAMS_PATH + "/{stream}": {"get": _describe_stream()},
        STREAMS_PATH + "/{stream}/messages": {"get": _read_messages()},
    }


def stream_schemas() -> Schema:
    """Return the schemas that the paths refer to."""
    nullable_time = {**_TIME, "type": ["integer", "null"]}
    stream = {
        "name": {"type": "string"},
        "filter": {"type": "string", "description": "The topics it captures."},
        "max_messages": _OFFSET,
        "max_bytes": _OFFSET,
        "max_age": _SECONDS,
        "dedupe_window": _SECONDS,
        "epoch": {"type": "string", "description": "Changes when offsets might mean something else."},
        "first": {**_OFFSET, "description": "The oldest message's offset; last + 1 where there is none."},
        "last": {**_COUNT, "description": "The newest message's offset."},
        "messages": _COUNT,
        "bytes": {**_COUNT, "description": "As the store counts for `max_bytes`."},
        "first_time": nullable_time,
        "last_time": nullable_time,
        "oldest_age_ms": {"type": ["integer", "null"], "minimum": 0},
        "groups": {"type": "array", "maxItems": 0},
    }
    return {
        "Stream": _closed(stream),
        "Streams": _closed({"streams": {"type": "array", "items": {"$ref": "#/components/schemas/Stream"}}}),
        "StoredMessage": _stored_message(),
        "StreamPage": _page(),
    }


def _stored_message() -> Schema:
    message = _closed(
        {
            "topic": {"type": "string", "minLength": 1},
            "id": {"$ref": "#/components/schemas/Id"},
            "time": _TIME,
            "stream": {"type": "string"},
            "offset": _OFFSET,
            "content_type": {"type": "string"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "key": {"type": "string"},
            "data": {"description": "As published; a string for `text/*`."},
            "data_base64": {"type": "string", "contentEncoding": "base64"},
        }
    )
    return {
        **message,
        "required": ["topic", "id", "time", "stream", "offset"],
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    }


def _page() -> Schema:
    gap = {
        "type": "object",
        "description": "What is missing before the first message; not there where nothing is.",
        "properties": {"reason": {"enum": ["trimmed", "epoch"]}, "from": _OFFSET, "to": _OFFSET},
        "required": ["reason"],
        "additionalProperties": False,
    }
    page = _closed(
        {
            "stream": {"type": "string"},
            "epoch": {"type": "string"},
            "first": _OFFSET,
            "last": _COUNT,
            "next": {**_OFFSET, "description": "`from` of the next request."},
            "messages": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/StoredMessage"},
                "maxItems": MOST_PER_PAGE,
            },
        }
    )
    return {**page, "properties": {**page["properties"], "gap": gap}}


def _list_streams() -> Schema:
    return {
        "operationId": "listStreams",
        "tags": ["streams"],
        "summary": "All streams",
        "description": "In configured order. Needs the grant `admin`.",
        "responses": {"200": answer("Streams", "All of them."), **problems(400, 401, 403, 503)},
    }


def _describe_stream() -> Schema:
    return {
        "operationId": "describeStream",
        "tags": ["streams"],
        "summary": "One stream",
        "description": "How it is configured, and what it holds. Needs the grant `admin`.",
        "parameters": [_NAME],
        "responses": {"200": answer("Stream", "It."), **problems(400, 401, 403, 404, 503)},
    }


def _read_messages() -> Schema:
    return {
        "operationId": "readMessages",
        "tags": ["streams"],
        "summary": "Read a stream",
        "description": (
            "One page, in stream order. Needs a grant `subscribe` that covers the filter. Go on with `next` "
            "as `from`, and `epoch` as it was answered: a page may end early, also without a message."
        ),
        "parameters": [
            _NAME,
            _parameter(
                "from",
                "Where to begin: `earliest` (if not said), `new`, an offset, `time:<ms>`, `last:<n>`, or the "
                "object that the WebSocket's `subscribe` takes.",
                {
                    "type": "string",
                    "pattern": "^(earliest|new|[1-9][0-9]{0,14}|(time|last):[1-9][0-9]{0,14})$",
                },
            ),
            _parameter(
                "epoch",
                "With an offset in `from`: the epoch in which it was got.",
                {"type": "string", "minLength": 1, "maxLength": EPOCH_CHARACTERS},
            ),
            _parameter(
                "limit",
                f"Messages at most; {MESSAGES_PER_PAGE} if not said.",
                {"type": "integer", "minimum": 1, "maximum": MOST_PER_PAGE},
            ),
            _parameter(
                "filter",
                "Only what this topic filter matches; the stream's if not said.",
                {"type": "string", "minLength": 1},
            ),
            _parameter(
                "wait",
                "Seconds to wait for a message where there is none yet.",
                {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS},
            ),
        ],
        "responses": {
            "200": answer("StreamPage", "One page."),
            **problems(400, 401, 403, 404, 429, 503),
        },
    }


def _parameter(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _closed(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
