"""The part of ``/openapi.json`` about server-sent events."""

from __future__ import annotations

from gateway.codecs.event_ids import LONGEST_ID, MOST_FILTERS
from gateway.core.commands import Overflow
from gateway.ingest.json_schema import ANY_TEXT, TEXT, Schema
from gateway.ingest.openapi_operations import header_parameter, problems, query_parameter, response

_ID: Schema = {**ANY_TEXT, "maxLength": LONGEST_ID}


def event_paths() -> Schema:
    """Return the path by which clients listen."""
    return {"/v1/events": {"get": _listen()}}


def _listen() -> Schema:
    return {
        "operationId": "listen",
        "tags": ["events"],
        "summary": "Listen",
        "description": (
            "Server-sent events without end, for `EventSource` and the like: `message`, `gap` and the other "
            "pushes of the WebSocket, with the same JSON (`/asyncapi.json`). Needs a grant `subscribe` that "
            "covers each filter. Where streams are concerned events bear an opaque `id`; whoever sends it "
            "back goes on from there in all of them."
        ),
        "parameters": [
            query_parameter(
                "filter",
                "A topic filter; repeat it for several.",
                {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MOST_FILTERS},
                required=True,
            ),
            query_parameter(
                "from",
                "Where to begin in streams of which no position is known: `new` (if not said), "
                "`earliest`, an offset, `time:<ms>`, `last:<n>`, or the object that the WebSocket's "
                "`subscribe` takes.",
                TEXT,
            ),
            query_parameter(
                "overflow",
                "What is lost when the client is too slow.",
                {"enum": [policy.value for policy in Overflow], "default": Overflow.SPILL.value},
            ),
            query_parameter(
                "last_event_id", "As the header, for a client that can't set it; the header wins.", _ID
            ),
            header_parameter(
                "Last-Event-ID", "The last event's `id`: go on behind it. It wins over `from`.", _ID
            ),
        ],
        "responses": {
            "200": response("Events, until one side ends it.", ANY_TEXT, "text/event-stream"),
            **problems(400, 401, 403, 429, 503),
        },
    }
