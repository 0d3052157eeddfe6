"""``/openapi.json`` and ``/asyncapi.json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from gateway.codecs.url_path import written_path
from gateway.http_api.descriptions.documents import Document, asyncapi_document, openapi_document
from gateway.http_api.publishing.limits import PublishingLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request


def description_routes(limits: PublishingLimits | None = None) -> list[Route]:
    """Return the routes that serve both descriptions; they are read once, here."""
    limits = limits or PublishingLimits()
    return [
        _document_route("/openapi.json", openapi_document(limits), _with_server),
        _document_route("/asyncapi.json", asyncapi_document(limits), _with_addresses),
    ]


def _with_server(document: Document, mount: str) -> Document:
    return document | {"servers": [{"url": mount}]}


def _with_addresses(document: Document, mount: str) -> Document:
    channels = {
        name: channel | {"address": mount + channel["address"]}
        for name, channel in document["channels"].items()
    }
    return document | {"channels": channels}


def _document_route(path: str, document: Document, below: Callable[[Document, str], Document]) -> Route:
    """The route of ``document``; ``below`` says of the same what it is for a gateway mounted under a path."""
    body = _json(document)

    async def serve(request: Request) -> Response:
        mount = written_path(request.scope.get("root_path", ""))
        return Response(body if not mount else _json(below(document, mount)), media_type="application/json")

    return Route(path, serve, methods=["GET"])


def _json(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
