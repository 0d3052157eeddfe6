"""``POST`` and ``DELETE /v1/topics/{topic}`` and ``POST /v1/publish``: publishing without a socket.

Spec: docs/http.md, "Publishing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.body import decode_body
from gateway.codecs.gateway_v1_shapes import PublishItems
from gateway.core.messages.publication import Publish
from gateway.errors import BadCommand
from gateway.http_api.bodies import BodyReader, refuse_content_coding
from gateway.http_api.lasting_bodies import read_lasting_body
from gateway.http_api.publishing.batch import Batches
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.publishing.message_headers import label, message_headers
from gateway.http_api.publishing.ndjson import LineStream
from gateway.http_api.publishing.receipts import json_answer, publish_answer
from gateway.http_api.publishing.topic_path import topic_from_path
from gateway.http_api.raw_headers import header

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from gateway.auth.principal import Principal
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.publishing import PublishService
    from gateway.http_api.authentication import RequestAuthenticator

    Answer = Callable[[Request], Awaitable[Response]]

TOPICS_PREFIX: Final = "/v1/topics/"
PUBLISH_PATH: Final = "/v1/publish"
NDJSON_MEDIA_TYPE: Final = "application/x-ndjson"


def rest_routes(
    *,
    publisher: PublishService,
    authenticate: RequestAuthenticator,
    lasting: LastingRequests,
    limits: PublishingLimits | None = None,
    bodies: BodyReader | None = None,
    read_topic: Answer | None = None,
) -> list[Route]:
    """Return the routes that publish over REST; ``read_topic`` answers who asks for a topic's last value."""
    rest = RestPublishing(
        publisher,
        authenticate,
        lasting=lasting,
        limits=limits or PublishingLimits(),
        bodies=bodies or BodyReader(),
    )
    topic: dict[str, Answer] = {"POST": rest.publish_to_topic, "DELETE": rest.delete_topic}
    if read_topic is not None:
        topic |= {"GET": read_topic, "HEAD": read_topic}
    return [
        Route(TOPICS_PREFIX + "{topic:topic}", Endpoint(topic), methods=list(topic)),
        Route(PUBLISH_PATH, rest.publish_items, methods=["POST"]),
    ]


class Endpoint:
    """An ASGI application of a function per method, for routes that are asked very often.

    Starlette's own way to call a function handles its exceptions a second time, at a tenth of a publish's
    cost; the application around all routes does that with the same handlers.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._answers[scope["method"]](Request(scope, receive))
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
    ) -> None:
        self._publisher = publisher
        self._authenticate = authenticate
        self._lasting = lasting
        self._limits = limits
        self._bodies = bodies
        self._items = PublishItems(limits.message)
        self._batches = Batches(publisher, limits, self._items)

    async def publish_to_topic(self, request: Request) -> Response:
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
        )
        return publish_answer(await self._publisher.publish(command, principal))

    async def delete_topic(self, request: Request) -> Response:
        """Publish that the topic has no value any more; answered as a publish is."""
        principal = await self._authenticate(request)
        command = Publish(
            topic_from_path(request.scope, TOPICS_PREFIX),
            headers=message_headers(request, self._limits.message),
            idempotency_key=label(request, "idempotency-key"),
            key=label(request, "gateway-key"),
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
        return json_answer({"results": await self._batches.publish(raw, principal)})

    async def _read(self, request: Request, principal: Principal, limit: int) -> bytes:
        return await read_lasting_body(
            request, principal, limit=limit, lasting=self._lasting, bodies=self._bodies
        )
