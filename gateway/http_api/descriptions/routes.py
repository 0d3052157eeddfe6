"""``/openapi.json`` and ``/asyncapi.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from gateway.http_api.descriptions.documents import Document, asyncapi_document, openapi_document
from gateway.http_api.publishing.limits import PublishingLimits

if TYPE_CHECKING:
    from starlette.requests import Request


def description_routes(limits: PublishingLimits | None = None) -> list[Route]:
    """Return the routes that serve both descriptions; they are read once, here."""
    limits = limits or PublishingLimits()
    return [
        _document_route("/openapi.json", openapi_document(limits)),
        _document_route("/asyncapi.json", asyncapi_document(limits)),
    ]


def _document_route(path: str, document: Document) -> Route:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    async def serve(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Route(path, serve, methods=["GET"])
