"""``/v1/streams``: what streams there are, and reading one without a socket.

Spec: docs/http.md, "Streams".
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.gateway_v1 import encode_object
from gateway.codecs.query import check_names, decode_query
from gateway.core.topics.grammar import TopicLimits, intersects, parse_filter, parse_topic
from gateway.engine.following.reading import Query
from gateway.errors import NotFound, NotPermitted
from gateway.http_api.authentication import for_administrators, viewer_of
from gateway.http_api.publishing.receipts import json_answer
from gateway.http_api.stream_queries import (
    MESSAGE_PARAMETERS,
    TOPIC_PARAMETERS,
    check_meets,
    configured_stream,
    epoch_of,
    limit_of,
    start_of,
    wait_of,
)
from gateway.http_api.waiting_clients import asker_of, while_connected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from gateway.auth.grants import Grants
    from gateway.auth.principal import Principal
    from gateway.core.streams.stream import StreamMap
    from gateway.engine.following.reading import Missed, Reading, StreamReader
    from gateway.engine.following.stream_overview import StreamFacts, StreamOverview
    from gateway.engine.group_administration import GroupAdministration
    from gateway.engine.lasting import LastingRequests
    from gateway.http_api.authentication import RequestAuthenticator

STREAMS_PATH: Final = "/v1/streams"
VISIBLE_PATH: Final = "/v1/console/streams"
"""The same, as far as the grants of whoever asks reach."""
MOST_READABLE: Final = 100
"""Filters."""

_TOLD_TO_CONSUMERS: Final = frozenset({"name", "groups", "readable"})
_TOLD_TO_READERS: Final = _TOLD_TO_CONSUMERS | {"filter", "epoch", "first", "last"}


class StreamRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        streams: StreamMap,
        *,
        overview: StreamOverview,
        reader: StreamReader,
        authenticate: RequestAuthenticator,
        administrator: RequestAuthenticator,
        lasting: LastingRequests,
        topic_limits: TopicLimits,
        groups: GroupAdministration,
    ) -> None:
        """Serve ``streams``; ``administrator`` must let administrators through alone."""
        self._streams = streams
        self._overview = overview
        self._reader = reader
        self._authenticate = authenticate
        self._administrator = administrator
        self._lasting = lasting
        self._topic_limits = topic_limits
        self._groups = groups

    def routes(self) -> list[Route]:
        """The routes of all streams."""
        return [
            Route(STREAMS_PATH, for_administrators(self.list_streams, self._administrator), methods=["GET"]),
            Route(VISIBLE_PATH, self.list_streams, methods=["GET"]),
            Route(STREAMS_PATH + "/{stream}", self.describe_stream, methods=["GET"]),
            Route(STREAMS_PATH + "/{stream}/messages", self.read_messages, methods=["GET"]),
            Route(STREAMS_PATH + "/{stream}/topics", self.list_topics, methods=["GET"]),
        ]

    async def list_streams(self, request: Request) -> Response:
        """Describe the streams that may be looked at."""
        grants = (await viewer_of(request, self._authenticate)).grants
        check_names(request.query_params)
        found = [await self._object(each.name, grants) for each in self._streams]
        return json_answer({"streams": [each for each in found if each is not None]})

    async def describe_stream(self, request: Request) -> Response:
        """Describe one stream."""
        grants = (await self._administrator(request)).grants
        check_names(request.query_params)
        name: str = request.path_params["stream"]
        if name not in self._streams:
            raise NotFound(f"no stream {name[:64]!r} is configured")
        return json_answer(await self._object(name, grants))

    async def read_messages(self, request: Request) -> Response:
        """Read one page, and wait for one where that is asked."""
        principal = await self._authenticate(request)
        query = await self._query(request, principal)
        if query.wait <= 0:
            reading: Reading | None = await while_connected(request, self._reader.read(query))
        else:
            with self._lasting.begin(principal, peer_of(request.scope).text, patient=True) as session:
                reading = await session.wait(while_connected(request, self._reader.read(query)))
        if reading is None:
            return Response(status_code=204)  # nobody reads it
        return Response(_page(query.stream, reading), media_type="application/json")

    async def list_topics(self, request: Request) -> Response:
        """Name some of the topics of which the stream holds something, in order."""
        principal = await self._authenticate(request)
        parameters = QueryParams(decode_query(request.scope["query_string"]))
        name, topic_filter = await self._stream_and_filter(request, principal, parameters, TOPIC_PARAMETERS)
        after = parameters.get("after")
        if after is not None:
            after = parse_topic(after, self._topic_limits)
        page = await self._reader.topics(name, topic_filter, after=after, limit=limit_of(parameters))
        return json_answer({"topics": [asdict(each) for each in page.topics], "next": page.next})

    async def _object(self, name: str, grants: Grants) -> dict[str, Any] | None:
        """What ``grants`` let somebody know of a stream; None where that is nothing."""
        captured = self._streams[name].filter
        await grants.when_known("subscribe", captured)
        groups = await self._groups.visible(grants, name)
        readable = [captured] if grants.may_subscribe(captured) else _meeting(grants.subscribe, captured)
        if not (grants.admin or readable or groups):
            return None
        told = _stream_object(await self._overview.describe(name), groups, readable)
        if grants.admin or readable == [captured]:
            return told
        # As much as each page of its messages tells; of one that it may not read nothing but the name.
        known = _TOLD_TO_READERS if readable else _TOLD_TO_CONSUMERS
        return {field: value if field in known else None for field, value in told.items()}

    async def _query(self, request: Request, principal: Principal) -> Query:
        parameters = QueryParams(decode_query(request.scope["query_string"]))
        name, topic_filter = await self._stream_and_filter(request, principal, parameters, MESSAGE_PARAMETERS)
        start = start_of(parameters)
        return Query(
            stream=name,
            filter=topic_filter,
            start=start,
            epoch=epoch_of(parameters, start),
            limit=limit_of(parameters),
            wait=wait_of(parameters),
            reader=asker_of(request, principal),
        )

    async def _stream_and_filter(
        self, request: Request, principal: Principal, parameters: QueryParams, known: tuple[str, ...]
    ) -> tuple[str, str]:
        """Which stream is asked about, and which of its topics; the principal may hear of those."""
        stream = configured_stream(self._streams, request.path_params["stream"])
        check_names((each for each, _ in parameters.multi_items()), known)
        topic_filter = parse_filter(parameters.get("filter", stream.filter), self._topic_limits)
        await principal.grants.when_known("subscribe", topic_filter)
        if not principal.grants.may_subscribe(topic_filter):
            raise NotPermitted(f"no grant covers the filter {topic_filter[:128]!r}")
        check_meets(stream, topic_filter)
        return stream.name, topic_filter


def _meeting(granted: Sequence[str], captured: str) -> list[str]:
    """Those filters that match something of a stream, as far as an answer tells of."""
    return [each for each in granted if intersects(each, captured)][:MOST_READABLE]


def _stream_object(facts: StreamFacts, groups: list[str], readable: list[str]) -> dict[str, Any]:
    configuration, held = facts.configuration, facts.statistics
    now = time.time_ns() // 1_000_000
    return {
        "name": configuration.name,
        "filter": configuration.filter,
        "max_messages": configuration.max_messages,
        "max_bytes": configuration.max_bytes,
        "max_age": configuration.max_age,
        "dedupe_window": configuration.dedupe_window,
        "last_values": configuration.last_values,
        "last_values_max_topics": configuration.last_values_max_topics,
        "last_values_max_age": configuration.last_values_max_age,
        "last_values_kept": held.last_values,
        "epoch": held.bounds.epoch,
        "first": held.bounds.first,
        "last": held.bounds.last,
        "messages": held.bounds.last - held.bounds.first + 1,
        "bytes": held.bytes,
        "first_time": held.first_time,
        "last_time": held.last_time,
        "oldest_age_ms": None if held.first_time is None else max(0, now - held.first_time),
        "groups": groups,
        "readable": readable,
    }


def _page(stream: str, reading: Reading) -> bytes:
    """The answer; bodies are embedded as they were published."""
    bounds = reading.bounds
    head = {"stream": stream, "epoch": bounds.epoch, "first": bounds.first, "last": bounds.last}
    if reading.missed is not None:
        head["gap"] = _gap(reading.missed)
    messages = b",".join([encode_object(each) for each in reading.publications])
    return orjson.dumps(head)[:-1] + b',"next":%d,"messages":[%b]}' % (reading.next, messages)


def _gap(missed: Missed) -> dict[str, Any]:
    if missed.first is None:
        return {"reason": missed.reason}
    return {"reason": missed.reason, "from": missed.first, "to": missed.last}
