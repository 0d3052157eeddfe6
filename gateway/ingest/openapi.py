"""``/openapi.json`` and ``/asyncapi.json``: the descriptions of both APIs, written by hand.

What the documents say is what the tests ask of a running gateway, so they hold no more than exists. Bounds
and error codes are taken from where they are defined.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from gateway.ingest.asyncapi import asyncapi_document
from gateway.ingest.limits import IngestLimits
from gateway.ingest.openapi_administration import administration_paths, administration_schemas
from gateway.ingest.openapi_events import event_paths
from gateway.ingest.openapi_paths import paths
from gateway.ingest.openapi_schemas import schemas
from gateway.ingest.openapi_streams import stream_paths, stream_schemas

if TYPE_CHECKING:
    from starlette.requests import Request


def openapi_document(limits: IngestLimits) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of everything that answers over HTTP."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fanout Gateway",
            "version": version("fanout-gateway"),
            "summary": "Publish over HTTP, fan out over WebSockets and server-sent events.",
            "description": (
                "Errors are RFC 9457 problems with a stable `code`. The WebSocket protocol behind `/v1/ws` "
                "is described in `/asyncapi.json`."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "publishing", "description": "Messages in, from anyone who can speak HTTP."},
            {"name": "webhooks", "description": "Messages in, from third parties that sign them."},
            {"name": "websocket", "description": "Messages out."},
            {"name": "events", "description": "Messages out, for clients that only listen."},
            {"name": "streams", "description": "Messages that are kept, to be read again."},
            {"name": "administration", "description": "Who is there; needs the grant `admin`."},
            {"name": "operations", "description": "For orchestrators and monitoring."},
        ],
        "security": [{}, {"bearer": []}],
        "paths": {**paths(limits), **event_paths(), **stream_paths(), **administration_paths()},
        "components": {
            "schemas": {**schemas(limits), **stream_schemas(), **administration_schemas()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token or an API key; not looked at while authentication is off.",
                }
            },
        },
    }


def openapi_routes(limits: IngestLimits | None = None) -> list[Route]:
    """Return the routes that serve both descriptions; they are made once, here."""
    limits = limits or IngestLimits()
    return [
        _document_route("/openapi.json", openapi_document(limits), "application/json"),
        _document_route("/asyncapi.json", asyncapi_document(limits), "application/json"),
    ]


def _document_route(path: str, document: dict[str, Any], media_type: str) -> Route:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    async def serve(_request: Request) -> Response:
        return Response(body, media_type=media_type)

    return Route(path, serve, methods=["GET"])
