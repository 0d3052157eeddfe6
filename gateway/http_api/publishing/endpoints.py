"""``POST`` and ``DELETE /v1/topics/{topic}`` and ``POST /v1/publish``: publishing without a socket.

Spec: docs/http.md, "Publishing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.body import decode_body
from gateway.codecs.publish_items import PublishItems
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand, GatewayError
from gateway.http_api.bodies import BodyReader, refuse_content_coding
from gateway.http_api.lasting_bodies import read_lasting_body
from gateway.http_api.publishing.batch import Batches
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.publishing.message_headers import (
    delay,
    label,
    message_headers,
    trace_headers,
)
from gateway.http_api.publishing.ndjson import LineStream
from gateway.http_api.publishing.receipts import PublishAnswer, json_answer, publish_answer
from gateway.http_api.publishing.topic_path import topic_from_path
from gateway.http_api.raw_headers import header

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any

    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.auth.principal import Principal
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.publishing import PublishService
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.problems import ExceptionHandler

    Answer = Callable[[Request], Awaitable[ASGIApp]]

TOPICS_PREFIX: Final = "/v1/topics/"
PUBLISH_PATH: Final = "/v1/publish"
_TOPICS_ROUTE: Final = TOPICS_PREFIX + "{topic:topic}"
NDJSON_MEDIA_TYPE: Final = "application/x-ndjson"


def rest_routes(
    *,
    publisher: PublishService,
    authenticate: RequestAuthenticator,
    lasting: LastingRequests,
    limits: PublishingLimits | None = None,
    bodies: BodyReader | None = None,
    items: PublishItems | None = None,
    read_topic: Answer | None = None,
) -> list[Route]:
    """Return the routes that publish over REST.

    ``items`` reads those of arrays and lines, ``read_topic`` answers who asks for a topic's last value.
    """
    limits = limits or PublishingLimits()
    rest = RestPublishing(
        publisher,
        authenticate,
        lasting=lasting,
        limits=limits,
        bodies=bodies or BodyReader(),
        items=items or PublishItems(limits.message),
    )
    topic: dict[str, Answer] = {"POST": rest.publish_to_topic, "DELETE": rest.delete_topic}
    if read_topic is not None:
        topic |= {"GET": read_topic, "HEAD": read_topic}
    return [
        Route(_TOPICS_ROUTE, Endpoint(topic), methods=list(topic)),
        Route(PUBLISH_PATH, Endpoint({"POST": rest.publish_items}), methods=["POST"]),
    ]


class Endpoint:
    """An ASGI application of a function per method, for routes that are asked very often.

    Starlette's own way to call a function handles its exceptions a second time; the application around all
    routes does that with the same handlers.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._answers[scope["method"]](Request(scope, receive))
        await response(scope, receive, send)


class PublishingDoor:
    """ASGI middleware, the innermost: answers those who publish ahead of the routes.

    Starlette's routing, and its handling of errors a second time, cost a tenth of a publish. The routes are
    there all the same: for other methods, and below a prefix that a server in front has taken away.
    """

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], handlers: Mapping[Any, ExceptionHandler]
    ) -> None:
        """Have ``rest_routes``, among ``routes``, answer, errors ``handlers``, and all else ``app``."""
        self._app = app
        endpoints = {route.path: route.app for route in routes if isinstance(route, Route)}
        self._topics, self._items = endpoints[_TOPICS_ROUTE], endpoints[PUBLISH_PATH]
        self._handlers = handlers

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer, or pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST" and not scope.get("root_path"):
            path = scope["path"]
            if path.startswith(TOPICS_PREFIX):
                return self._run(self._topics, scope, receive, send)
            if path == PUBLISH_PATH:
                return self._run(self._items, scope, receive, send)
        return self._app(scope, receive, send)

    async def _run(self, endpoint: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await endpoint(scope, receive, send)
        except GatewayError as error:
            response = await self._handlers[GatewayError](Request(scope), error)
        except ClientDisconnect as error:
            response = await self._handlers[ClientDisconnect](Request(scope), error)
        else:
            return
        await response(scope, receive, send)


class RestPublishing:
    """The endpoints; every error that concerns the whole request is raised as a ``GatewayError``."""

    def __init__(
        self,
        publisher: PublishService,
        authenticate: RequestAuthenticator,
        *,
        lasting: LastingRequests,
        limits: PublishingLimits,
        bodies: BodyReader,
        items: PublishItems,
    ) -> None:
        self._publisher = publisher
        self._authenticate = authenticate
        self._lasting = lasting
        self._limits = limits
        self._bodies = bodies
        self._items = items
        self._batches = Batches(publisher, limits, self._items.decode)

    async def publish_to_topic(self, request: Request) -> PublishAnswer:
        """Publish the body as it is: 201 if a stream stored it, 202 if it went to the live fan-out."""
        principal = await self._authenticate(request)
        topic = topic_from_path(request.scope, TOPICS_PREFIX)
        content_type = header(request, b"content-type")
        raw = await self._read(request, principal, self._limits.message.message_bytes)
        body = decode_body(raw, content_type, depth=self._limits.message.json_depth)
        command = Publish(
            topic,
            data=body.data,
            binary=body.binary,
            content_type=content_type,
            headers=message_headers(request, self._limits.message),
            idempotency_key=label(request, "idempotency-key"),
            key=label(request, "gateway-key"),
            delay=delay(request),
        )
        return PublishAnswer(await self._publisher.publish(command, principal))

    async def delete_topic(self, request: Request) -> Response:
        """Publish that the topic has no value any more; answered as a publish is."""
        principal = await self._authenticate(request)
        command = Publish(
            topic_from_path(request.scope, TOPICS_PREFIX),
            headers=message_headers(request, self._limits.message),
            idempotency_key=label(request, "idempotency-key"),
            key=label(request, "gateway-key"),
            delay=delay(request),
            deleted=True,
        )
        return publish_answer(await self._publisher.publish(command, principal))

    async def publish_items(self, request: Request) -> Response:
        """Publish one item, an array of them, or a stream of lines; each may fail alone."""
        principal = await self._authenticate(request)
        media_type = request.headers.get("content-type", "application/json").partition(";")[0]
        media_type = media_type.strip().lower()
        if media_type == NDJSON_MEDIA_TYPE:
            refuse_content_coding(request)
            with self._lasting.begin(principal, peer_of(request.scope).text, patient=False) as session:
                stream = LineStream(self._publisher, session, self._limits, self._items)
                summary = await stream.run(request.stream())
            # The rest of the body is not read, and may have no end.
            headers = {"Connection": "close"} if stream.stopped else None
            return json_answer(summary, headers=headers)
        if media_type != "application/json" and not media_type.endswith("+json"):
            allowed = f"application/json or {NDJSON_MEDIA_TYPE}"
            raise BadCommand(f"Content-Type {media_type[:100]!r}: {PUBLISH_PATH} takes {allowed}")
        raw = await self._read(request, principal, self._limits.batch_bytes)
        return json_answer({"results": await self._batches.publish(raw, principal, trace_headers(request))})

    async def _read(self, request: Request, principal: Principal, limit: int) -> bytes:
        return await read_lasting_body(
            request, principal, limit=limit, lasting=self._lasting, bodies=self._bodies
        )
