"""The part of ``/openapi.json`` about server-sent events."""

from __future__ import annotations

from typing import Any

from gateway.codecs.event_ids import LONGEST_ID, MOST_FILTERS
from gateway.core.commands import Overflow
from gateway.ingest.openapi_paths import problems

Schema = dict[str, Any]


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
            {
                **_query("filter", "A topic filter; repeat it for several."),
                "required": True,
                "schema": {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "minItems": 1,
                    "maxItems": MOST_FILTERS,
                },
            },
            {
                **_query(
                    "from",
                    "Where to begin in streams of which no position is known: `new` (if not said), "
                    "`earliest`, an offset, `time:<ms>`, `last:<n>`, or the object that the WebSocket's "
                    "`subscribe` takes.",
                ),
                "schema": {"type": "string", "minLength": 1},
            },
            {
                **_query("overflow", "What is lost when the client is too slow."),
                "schema": {"enum": [policy.value for policy in Overflow], "default": Overflow.SPILL.value},
            },
            {
                **_query("last_event_id", "As the header, for a client that can't set it; the header wins."),
                "schema": _id(),
            },
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "The last event's `id`: go on behind it. It wins over `from`.",
                "schema": _id(),
            },
        ],
        "responses": {
            "200": {
                "description": "Events, until one side ends it.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **problems(400, 401, 403, 429, 503),
        },
    }


def _query(name: str, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description}


def _id() -> Schema:
    return {"type": "string", "maxLength": LONGEST_ID}
