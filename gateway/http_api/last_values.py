"""``GET /v1/topics/{topic}`` and ``GET /v1/snapshot``: last values, for those who have no subscription yet.

A topic's last value comes as it was published. What a publisher calls a page stays data all the same: no
browser runs anything of it.

Spec: docs/http.md, "Last values".
"""

from __future__ import annotations

import json
import re
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import orjson
from starlette.responses import Response
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.body import encode_body
from gateway.codecs.gateway_v1 import encode_object
from gateway.codecs.query import check_names, decode_query
from gateway.core.topics.grammar import TopicLimits, parse_filter, parse_topic
from gateway.errors import BadCommand, GatewayError, NotFound, NotPermitted
from gateway.http_api.problems import problem_of
from gateway.http_api.progress import wants_lines
from gateway.http_api.publishing.endpoints import NDJSON_MEDIA_TYPE, TOPICS_PREFIX
from gateway.http_api.publishing.message_headers import MESSAGE_HEADER_PREFIX
from gateway.http_api.publishing.receipts import failure_object
from gateway.http_api.publishing.topic_path import topic_from_path
from gateway.http_api.raw_headers import all_values
from gateway.http_api.waiting_clients import while_connected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from gateway.auth.principal import Principal
    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.engine.following.last_values import LastValueReader, TopicValue
    from gateway.engine.lasting import LastingRequest, LastingRequests
    from gateway.http_api.authentication import RequestAuthenticator

SNAPSHOT_PATH: Final = "/v1/snapshot"
POSITION_HEADER: Final = "Gateway-Position"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""What may name a header (RFC 9110, 5.6.2)."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

# `default-src 'none'` runs nothing, and a sandbox submits no form and leads nowhere. A browser may keep a
# value, and asks each time whether it still is one.
_HEADERS: Final[Sequence[tuple[bytes, bytes]]] = (
    (b"content-security-policy", b"sandbox; default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"private, no-cache"),
)


class LastValueRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        values: LastValueReader,
        *,
        authenticate: RequestAuthenticator,
        lasting: LastingRequests,
        topic_limits: TopicLimits,
    ) -> None:
        """Serve what ``values`` reads."""
        self._values = values
        self._authenticate = authenticate
        self._lasting = lasting
        self._topic_limits = topic_limits

    def routes(self) -> list[Route]:
        """The route of snapshots; that of topics is the publishers' too."""
        return [Route(SNAPSHOT_PATH, self.read_snapshot, methods=["GET"])]

    async def read_topic(self, request: Request) -> Response:
        """A topic's last value, as it was published; 304 where the client has it already."""
        principal = await self._authenticate(request)
        check_names(name for name, _ in decode_query(request.scope["query_string"]))
        topic = parse_topic(topic_from_path(request.scope, TOPICS_PREFIX), self._topic_limits)
        await principal.grants.when_known("subscribe", topic)
        if not principal.grants.may_subscribe(topic):
            raise NotPermitted(f"no grant to read {topic[:128]!r}")
        value = await self._values.value(topic)
        position = _position({value.stream: value.position})
        if value.publication is None:
            missing = NotFound(f"topic {topic[:128]!r} has no value")
            # Who finds nothing may want to be told of the first.
            return problem_of(missing, headers={POSITION_HEADER: position})
        tag = entity_tag(value)
        headers = [*_HEADERS, (b"etag", tag.encode()), (POSITION_HEADER.lower().encode(), position.encode())]
        if _has(request, tag):
            return _answer(b"", HTTPStatus.NOT_MODIFIED, headers)
        body, content_type = encode_body(value.publication)
        headers += [
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(body)),
            *_message_headers(value.publication),
        ]
        return _answer(body, HTTPStatus.OK, headers)

    async def read_snapshot(self, request: Request) -> Response:
        """The last values of all topics that a filter matches, and the position that they are as of."""
        principal = await self._authenticate(request)
        topic_filter = await self._filter(request, principal)
        if wants_lines(request):
            return SnapshotLines(self._values, topic_filter, request, principal, self._lasting)
        snapshot = await while_connected(request, self._values.whole(topic_filter))
        if snapshot is None:
            return Response(status_code=204)  # nobody reads it
        messages = b",".join(map(encode_object, snapshot.publications))
        position = orjson.dumps(_fields(snapshot.positions))
        body = b'{"messages":[%b],"position":%b}' % (messages, position)
        return Response(body, media_type="application/json")

    async def _filter(self, request: Request, principal: Principal) -> str:
        parameters = decode_query(request.scope["query_string"])
        check_names((name for name, _ in parameters), ("filter",))
        given = dict(parameters).get("filter")
        if given is None:
            raise BadCommand("the parameter 'filter' says which topics: '#' for all")
        topic_filter = parse_filter(given, self._topic_limits)
        await principal.grants.when_known("subscribe", topic_filter)
        if not principal.grants.may_subscribe(topic_filter):
            raise NotPermitted(f"no grant covers the filter {topic_filter[:128]!r}")
        return topic_filter


class SnapshotLines(Response):
    """Any number of last values, a line each; the last line has the position, or says why there is none.

    A page is read once the client has taken the one before. The request is a session as long as it lasts.
    """

    media_type = NDJSON_MEDIA_TYPE

    def __init__(
        self,
        values: LastValueReader,
        topic_filter: str,
        request: Request,
        principal: Principal,
        lasting: LastingRequests,
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._values = values
        self._filter = topic_filter
        self._request = request
        self._principal = principal
        self._lasting = lasting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Write it until all is said, or nobody listens any more."""
        with self._lasting.begin(self._principal, peer_of(scope).text, patient=False) as session:
            await while_connected(self._request, self._write(scope, send, session))

    async def _write(self, scope: Scope, send: Send, session: LastingRequest) -> None:
        positions: dict[str, Position] = {}
        async with aclosing(self._values.pages(self._filter, positions)) as pages:
            # The first page comes before the head: whatever can't be read at all is an error like any other.
            page = await session.wait(anext(pages, None))
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                page = None
            try:
                while page is not None:
                    session.confirm()
                    if page:
                        lines = b"".join(map(_line, page))
                        piece = {"type": "http.response.body", "body": lines, "more_body": True}
                        await session.wait(send(piece))
                    page = await session.wait(anext(pages, None))
                last = orjson.dumps({"position": _fields(positions)})
            except GatewayError as error:
                last = orjson.dumps(failure_object(error))
        await send({"type": "http.response.body", "body": last + b"\n", "more_body": False})


def entity_tag(value: TopicValue) -> str:
    """A strong validator: what a log gave an offset in one epoch never changes (RFC 9110, 8.8.3)."""
    assert value.publication is not None, "only a value has one"
    return f'"{quote(value.bounds.epoch, safe="")}:{value.publication.offset}"'


def _has(request: Request, tag: str) -> bool:
    """Whether ``If-None-Match`` names ``tag``, compared weakly (RFC 9110, 13.1.2)."""
    given = b",".join(all_values(request, b"if-none-match")).decode("latin-1")
    # Our tags hold no comma. A foreign one that does falls apart into what is none of ours.
    tags = {each.strip(" \t").removeprefix("W/") for each in given.split(",")}
    return tag in tags or "*" in tags


def _message_headers(publication: Publication) -> list[tuple[bytes, bytes]]:
    """The message's own headers; one whose name HTTP has no form for is left out."""
    prefix = MESSAGE_HEADER_PREFIX
    return [
        (f"{prefix}{name}".encode("latin-1"), value.encode())
        for name, value in (publication.headers or {}).items()
        if _TOKEN.fullmatch(name) and not _CONTROL.search(value)
    ]


def _position(positions: Mapping[str, Position]) -> str:
    """As ``resume`` takes it, in ASCII."""
    return json.dumps(_fields(positions), separators=(",", ":"))


def _fields(positions: Mapping[str, Position]) -> dict[str, dict[str, str | int]]:
    return {name: {"epoch": at.epoch, "offset": at.offset} for name, at in positions.items()}


def _line(publication: Publication) -> bytes:
    # A body is embedded as it was published. In valid JSON a raw line end is white space between tokens.
    return encode_object(publication).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"


def _answer(body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> Response:
    response = Response(body, status)
    response.raw_headers = headers
    return response
