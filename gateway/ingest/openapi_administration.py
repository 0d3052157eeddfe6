"""The administration's part of ``/openapi.json``: paths and schemas."""

from __future__ import annotations

from gateway.core.block_list import LONGEST_BLOCK_SECONDS, LONGEST_SUBJECT
from gateway.core.control import MOST_PER_PAGE
from gateway.ingest.administration import CONNECTIONS_PATH, DISCONNECT_PATH, NODES_PATH
from gateway.ingest.json_schema import ANY_TEXT, COUNT, POSITIVE, TEXT, TIME, Schema, closed_object, reference
from gateway.ingest.openapi_operations import answer, problems

_REACH: Schema = {
    "nodes": {"type": "array", "items": TEXT, "description": "Those that have done it."},
    "missing": {
        "type": "array",
        "items": TEXT,
        "description": "Those that have not, or not said so in time.",
    },
    "complete": {
        "type": "boolean",
        "description": "No node is missing, and there is none that the one asked may not know of.",
    },
}


def administration_paths() -> Schema:
    """Return the paths by which administrators see nodes, and see and end connections."""
    return {
        NODES_PATH: {"get": _list_nodes()},
        CONNECTIONS_PATH: {"get": _list_connections()},
        CONNECTIONS_PATH + "/{session}": {"delete": _disconnect_session()},
        DISCONNECT_PATH: {"post": _disconnect_subject()},
    }


def administration_schemas() -> Schema:
    """Return the schemas that the paths refer to."""
    node = {
        "node": {**TEXT, "description": "The node's name, new with each start."},
        "name": {**ANY_TEXT, "description": "Of the host or container."},
        "version": ANY_TEXT,
        "started": {**TIME, "description": "Milliseconds since 1970, by the node's own clock."},
        "connections": COUNT,
        "subscriptions": COUNT,
        "streams": {
            **ANY_TEXT,
            "description": "A digest of what its streams capture: the same where that is the same.",
        },
        "both_ways": {
            "type": "boolean",
            "description": "Nodes capture different topics, and it publishes what it captures live as well.",
        },
        "partitions": {**COUNT, "description": "redis.partitions; 0 from a node that does not tell."},
        "silent_seconds": {
            "type": "number",
            "minimum": 0,
            "description": "Since the node that answers heard of it last.",
        },
    }
    connection = {
        "node": {**TEXT, "description": "Where it is."},
        "session": ANY_TEXT,
        "subject": {"type": ["string", "null"], "description": "null while anonymous."},
        "peer": {**ANY_TEXT, "description": "Address and port; a trusted proxy's word where one is."},
        "transport": {"enum": ["websocket", "sse", "http"]},
        "connected": TIME,
        "subscriptions": COUNT,
        "waiting_messages": COUNT,
        "waiting_bytes": COUNT,
    }
    page = {
        "connections": {"type": "array", "items": reference("Connection")},
        "next": {"type": ["string", "null"], "description": "`after` of the next page; null: there is none."},
        **_REACH,
    }
    return {
        "Node": closed_object(node),
        "Nodes": closed_object(
            {
                "nodes": {"type": "array", "items": reference("Node")},
                "complete": {
                    "type": "boolean",
                    "description": "false: there may be nodes that this one has not heard of.",
                },
            }
        ),
        "Connection": closed_object(connection),
        "Connections": closed_object(page),
        "Disconnected": closed_object(
            {"disconnected": COUNT, "blocked_until": {**TIME, "type": ["integer", "null"]}, **_REACH}
        ),
    }


def _list_nodes() -> Schema:
    return {
        "operationId": "listNodes",
        "tags": ["administration"],
        "summary": "The nodes of the gateway",
        "description": "Those that have been heard of lately, the one that answers among them.",
        "responses": {"200": answer("Nodes", "All of them."), **problems(400, 401, 403, 503)},
    }


def _list_connections() -> Schema:
    return {
        "operationId": "listConnections",
        "tags": ["administration"],
        "summary": "Who is connected",
        "description": (
            "Of all nodes, in the order of the sessions' names, a page at a time. A page may have fewer than "
            "`limit` and still a `next`."
        ),
        "parameters": [
            {
                "name": "limit",
                "in": "query",
                "description": "Connections per page; 100 if not said.",
                "schema": {**POSITIVE, "maximum": MOST_PER_PAGE},
            },
            {
                "name": "after",
                "in": "query",
                "description": "`next` of the page before.",
                "schema": ANY_TEXT,
            },
        ],
        "responses": {
            "200": answer("Connections", "One page."),
            **problems(400, 401, 403, 503),
        },
    }


def _disconnect_session() -> Schema:
    return {
        "operationId": "disconnectSession",
        "tags": ["administration"],
        "summary": "End one connection",
        "description": (
            "It is closed with 4403, on whichever node it is. 503: it is on none of the nodes that have "
            "answered, and some have not."
        ),
        "parameters": [{"name": "session", "in": "path", "required": True, "schema": TEXT}],
        "responses": {
            "204": {"description": "It is being closed."},
            **problems(400, 401, 403, 404, 503),
        },
    }


def _disconnect_subject() -> Schema:
    asked = {
        "subject": {**TEXT, "maxLength": LONGEST_SUBJECT},
        "block_seconds": {"type": "number", "minimum": 0, "maximum": LONGEST_BLOCK_SECONDS},
    }
    return {
        "operationId": "disconnectSubject",
        "tags": ["administration"],
        "summary": "End all connections of a subject, and block it where that is asked",
        "description": (
            "On all nodes. They are closed with 4403; while blocked, new ones and requests get 403. A node "
            "in `missing` learns the block as soon as it can be reached."
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": closed_object(asked, optional=["block_seconds"]),
                    "example": {"subject": "ann", "block_seconds": 600},
                }
            },
        },
        "responses": {
            "200": answer("Disconnected", "How many there were."),
            **problems(400, 401, 403, 413, 429, 503),
        },
    }
