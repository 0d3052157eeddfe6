"""The streams' part of ``/openapi.json``: paths and schemas."""

from __future__ import annotations

from gateway.ingest.json_schema import (
    ANY_TEXT,
    BASE64,
    COUNT,
    HEADERS,
    POSITIVE,
    TEXT,
    TIME,
    Schema,
    closed_object,
    reference,
)
from gateway.ingest.openapi_operations import answer, path_parameter, problems, query_parameter
from gateway.ingest.stream_queries import (
    EPOCH_CHARACTERS,
    LONGEST_WAIT_SECONDS,
    MESSAGES_PER_PAGE,
    MOST_PER_PAGE,
)
from gateway.ingest.streams import STREAMS_PATH

_SECONDS: Schema = {"type": "number", "exclusiveMinimum": 0, "description": "Seconds."}
_NAME = path_parameter(
    "stream",
    "The name of a configured stream.",
    {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    example="orders",
)


def stream_paths() -> Schema:
    """Return the paths by which streams are looked at and read."""
    return {
        STREAMS_PATH: {"get": _list_streams()},
        STREAMS_PATH + "/{stream}": {"get": _describe_stream()},
        STREAMS_PATH + "/{stream}/messages": {"get": _read_messages()},
    }


def stream_schemas() -> Schema:
    """Return the schemas that the paths refer to."""
    nullable_time = {**TIME, "type": ["integer", "null"]}
    stream = {
        "name": ANY_TEXT,
        "filter": {**ANY_TEXT, "description": "The topics it captures."},
        "max_messages": POSITIVE,
        "max_bytes": POSITIVE,
        "max_age": _SECONDS,
        "dedupe_window": _SECONDS,
        "epoch": {**ANY_TEXT, "description": "Changes when offsets might mean something else."},
        "first": {**POSITIVE, "description": "The oldest message's offset; last + 1 where there is none."},
        "last": {**COUNT, "description": "The newest message's offset."},
        "messages": COUNT,
        "bytes": {**COUNT, "description": "As the store counts for `max_bytes`."},
        "first_time": nullable_time,
        "last_time": nullable_time,
        "oldest_age_ms": {"type": ["integer", "null"], "minimum": 0},
        "groups": {"type": "array", "maxItems": 0},
    }
    return {
        "Stream": closed_object(stream),
        "Streams": closed_object({"streams": {"type": "array", "items": reference("Stream")}}),
        "StoredMessage": _stored_message(),
        "StreamPage": _page(),
    }


def _stored_message() -> Schema:
    message = closed_object(
        {
            "topic": TEXT,
            "id": reference("Id"),
            "time": TIME,
            "stream": ANY_TEXT,
            "offset": POSITIVE,
            "content_type": ANY_TEXT,
            "headers": HEADERS,
            "key": ANY_TEXT,
            "data": {"description": "As published; a string for `text/*`."},
            "data_base64": BASE64,
        },
        optional=["content_type", "headers", "key", "data", "data_base64"],
    )
    return {**message, "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}]}


def _page() -> Schema:
    gap = {
        "type": "object",
        "description": "What is missing before the first message; not there where nothing is.",
        "properties": {"reason": {"enum": ["trimmed", "epoch"]}, "from": POSITIVE, "to": POSITIVE},
        "required": ["reason"],
        "additionalProperties": False,
    }
    return closed_object(
        {
            "stream": ANY_TEXT,
            "epoch": ANY_TEXT,
            "first": POSITIVE,
            "last": COUNT,
            "next": {**POSITIVE, "description": "`from` of the next request."},
            "messages": {
                "type": "array",
                "items": reference("StoredMessage"),
                "maxItems": MOST_PER_PAGE,
            },
            "gap": gap,
        },
        optional=["gap"],
    )


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
            query_parameter(
                "from",
                "Where to begin: `earliest` (if not said), `new`, an offset, `time:<ms>`, `last:<n>`, or the "
                "object that the WebSocket's `subscribe` takes.",
                {
                    "type": "string",
                    "pattern": "^(earliest|new|[1-9][0-9]{0,14}|(time|last):[1-9][0-9]{0,14})$",
                },
            ),
            query_parameter(
                "epoch",
                "With an offset in `from`: the epoch in which it was got.",
                {**TEXT, "maxLength": EPOCH_CHARACTERS},
            ),
            query_parameter(
                "limit",
                f"Messages at most; {MESSAGES_PER_PAGE} if not said.",
                {**POSITIVE, "maximum": MOST_PER_PAGE},
            ),
            query_parameter(
                "filter",
                "Only what this topic filter matches; the stream's if not said.",
                TEXT,
            ),
            query_parameter(
                "wait",
                "Seconds to wait for a message where there is none yet.",
                {**COUNT, "maximum": LONGEST_WAIT_SECONDS},
            ),
        ],
        "responses": {
            "200": answer("StreamPage", "One page."),
            **problems(400, 401, 403, 404, 429, 503),
        },
    }
