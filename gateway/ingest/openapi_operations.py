"""What the operations of ``/openapi.json`` are made of: parameters and answers."""

from __future__ import annotations

from typing import Any

from gateway.ingest.json_schema import COUNT, Schema, reference
from gateway.ingest.problems import PROBLEM_MEDIA_TYPE

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


def path_parameter(name: str, description: str, schema: Schema, *, example: str) -> Schema:
    """A part of the path."""
    return {**_parameter("path", name, description, schema, required=True), "example": example}


def query_parameter(name: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    """A parameter of the query."""
    return _parameter("query", name, description, schema, required=required)


def header_parameter(name: str, description: str, schema: Schema) -> Schema:
    """A header, which may be left out."""
    return _parameter("header", name, description, schema, required=False)


def _parameter(place: str, name: str, description: str, schema: Schema, *, required: bool) -> Schema:
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}


def answer(schema: str, description: str) -> Schema:
    """An answer in JSON, by the name of its schema."""
    return response(description, reference(schema))


def response(description: str, schema: Schema, media_type: str = "application/json") -> Schema:
    """An answer with a body."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def retry_later(answered: Schema) -> Schema:
    """The same answer, with a header that says when to ask again."""
    seconds = {"description": "Seconds.", "required": True, "schema": COUNT}
    return {**answered, "headers": {"Retry-After": seconds}}


def problems(*statuses: int) -> dict[str, Any]:
    """The answers that refuse, by status."""
    return {str(status): _problem(status) for status in statuses}


def _problem(status: int) -> Schema:
    problem = response(_REASONS[status], reference("Problem"), PROBLEM_MEDIA_TYPE)
    return retry_later(problem) if status in {429, 503} else problem
