"""``/v1/cloudevents``: events of CloudEvents 1.0 in, in any of the three modes of its HTTP binding.

Spec: CloudEvents 1.0.2, "HTTP Protocol Binding" and "HTTP 1.1 Web Hooks for Event Delivery" (the handshake);
docs/cloudevents.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import BadCommand, BadFrame
from gateway.http_api.lasting_bodies import read_lasting_body
from gateway.http_api.publishing.batch import Batches
from gateway.http_api.publishing.receipts import json_answer, publish_answer
from gateway.http_api.raw_headers import header

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.auth.principal import Principal
    from gateway.codecs.cloudevents import CloudEventReader
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.publishing import PublishService
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.bodies import BodyReader
    from gateway.http_api.publishing.limits import PublishingLimits

CLOUDEVENTS_PATH: Final = "/v1/cloudevents"
EVENT_MEDIA_TYPE: Final = "application/cloudevents+json"
BATCH_MEDIA_TYPE: Final = "application/cloudevents-batch+json"
# HTTP Protocol Binding, 3: what begins so is an event in some format, and never one in binary mode.
_ANY_FORMAT: Final = "application/cloudevents"
_METHODS: Final = ("OPTIONS", "POST")
# HTTP 1.1 Web Hooks, 4.1.1: a DNS name.
_SENDER: Final = re.compile(r"[A-Za-z0-9._:-]{1,255}")


class CloudEventPublishing:
    """The endpoint; every error that concerns the whole request is raised as a ``GatewayError``."""

    def __init__(
        self,
        publisher: PublishService,
        authenticate: RequestAuthenticator,
        *,
        reader: CloudEventReader,
        lasting: LastingRequests,
        limits: PublishingLimits,
        bodies: BodyReader,
        requests_per_minute: int = 0,
    ) -> None:
        """Publish the events that ``reader`` reads.

        Args:
            publisher: publishes.
            authenticate: finds who sends.
            reader: makes publishes of events.
            lasting: ends bodies whose senders lose their rights.
            limits: of one request.
            bodies: reads them.
            requests_per_minute: what a sender that asks is told it may send; 0: as many as it likes.
        """
        self._publisher = publisher
        self._authenticate = authenticate
        self._reader = reader
        self._lasting = lasting
        self._limits = limits
        self._bodies = bodies
        self._rate = str(requests_per_minute or "*")
        self._batches = Batches(publisher, limits, reader.structured)

    def routes(self) -> list[Route]:
        """The one route there is."""
        return [Route(CLOUDEVENTS_PATH, self.answer, methods=list(_METHODS))]

    async def answer(self, request: Request) -> Response:
        """Publish one event or several, or agree to be sent events."""
        principal = await self._authenticate(request)
        if request.method == "OPTIONS":
            return self._agree(request)
        content_type = header(request, b"content-type") or ""
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type == BATCH_MEDIA_TYPE:
            return await self._publish_batch(request, principal)
        if media_type == EVENT_MEDIA_TYPE:
            raw = await self._read(request, principal, self._limits.line_bytes)
            command = self._reader.structured(raw)
        elif media_type.startswith(_ANY_FORMAT):
            allowed = f"{EVENT_MEDIA_TYPE} and {BATCH_MEDIA_TYPE}"
            raise BadCommand(f"Content-Type {media_type[:100]!r}: events are taken as {allowed}")
        else:
            raw = await self._read(request, principal, self._limits.message.message_bytes)
            command = self._reader.binary(request.scope["headers"], raw)
        return publish_answer(await self._publisher.publish(command, principal))

    async def _publish_batch(self, request: Request, principal: Principal) -> Response:
        raw = await self._read(request, principal, self._limits.batch_bytes)
        if raw.lstrip(b" \t\r\n")[:1] != b"[":
            raise BadFrame("not a JSON array: a batch is an array of events")
        return json_answer({"results": await self._batches.publish(raw, principal)})

    def _agree(self, request: Request) -> Response:
        # Whoever has a credential here may have others send for it; each event is judged when it comes.
        sender = header(request, b"webhook-request-origin")
        if sender is None:
            return Response(status_code=204, headers={"Allow": ", ".join(_METHODS)})
        if not _SENDER.fullmatch(sender):
            raise BadCommand("WebHook-Request-Origin: one DNS name is allowed")
        agreed = {
            "Allow": ", ".join(_METHODS),
            "WebHook-Allowed-Origin": sender,
            "WebHook-Allowed-Rate": self._rate,
        }
        return Response(status_code=200, headers=agreed)

    async def _read(self, request: Request, principal: Principal, limit: int) -> bytes:
        return await read_lasting_body(
            request, principal, limit=limit, lasting=self._lasting, bodies=self._bodies
        )
