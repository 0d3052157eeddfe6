"""``/v1/statistics`` and ``/v1/statistics/events``: what goes on, and what went on.

Spec: docs/http.md, "Statistics".
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.query import check_names, decode_query
from gateway.core.statistics.series import HELD_SECONDS, SECONDS_KEPT, STEP_SECONDS
from gateway.errors import BadCommand, GatewayError
from gateway.http_api.publishing.receipts import failure_object, json_answer
from gateway.http_api.waiting_clients import while_connected

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from gateway.auth.principal import Principal
    from gateway.engine.cluster.statistics import Past, Second, StatisticsService
    from gateway.engine.lasting import LastingRequest, LastingRequests
    from gateway.http_api.authentication import RequestAuthenticator

STATISTICS_PATH: Final = "/v1/statistics"
STATISTICS_EVENTS_PATH: Final = "/v1/statistics/events"

_SCOPES: Final = ("node", "cluster")
_LONGEST_NUMBER: Final = 15


class StatisticsRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self, statistics: StatisticsService, administrator: RequestAuthenticator, lasting: LastingRequests
    ) -> None:
        """Tell ``statistics``; ``administrator`` must let administrators through alone."""
        self._statistics = statistics
        self._administrator = administrator
        self._lasting = lasting

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(STATISTICS_PATH, self.read, methods=["GET"]),
            Route(STATISTICS_EVENTS_PATH, self.follow, methods=["GET"]),
        ]

    async def read(self, request: Request) -> Response:
        """The last minutes."""
        await self._administrator(request)
        parameters = _parameters(request, "scope", "seconds")
        cluster = _is_cluster(parameters)
        seconds = _number(parameters, "seconds", least=1, most=SECONDS_KEPT) or SECONDS_KEPT
        past = await while_connected(request, self._statistics.past(seconds, cluster=cluster))
        if past is None:
            return Response(status_code=204)  # nobody reads it
        return json_answer(
            _past_object(past, cluster=cluster)
            | {"totals": self._statistics.totals, "refused": self._statistics.refused}
        )

    async def follow(self, request: Request) -> Response:
        """What goes on, as server-sent events."""
        principal = await self._administrator(request)
        parameters = _parameters(request, "scope", "since")
        cluster = _is_cluster(parameters)
        # What a browser sends by itself is newer than what its page put into the address.
        if last := request.headers.get("last-event-id"):
            parameters["since"] = last
        since = _number(parameters, "since", least=0, most=10**_LONGEST_NUMBER)
        events = self._statistics.events(None if since is None else since // 1000, cluster=cluster)
        return StatisticsEvents(
            events, request, principal, statistics=self._statistics, lasting=self._lasting, cluster=cluster
        )


class StatisticsEvents(Response):
    """An event each second, until the client has gone or may not go on."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[Second, None],
        request: Request,
        principal: Principal,
        *,
        statistics: StatisticsService,
        lasting: LastingRequests,
        cluster: bool,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._events = events
        self._request = request
        self._principal = principal
        self._statistics = statistics
        self._lasting = lasting
        self._cluster = cluster

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Write it."""
        with (
            self._statistics.watching(),
            self._lasting.begin(self._principal, peer_of(scope).text, patient=False) as session,
        ):
            await while_connected(self._request, self._write(scope, send, session))

    async def _write(self, scope: Scope, send: Send, session: LastingRequest) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        last = b""
        async with aclosing(self._events) as events:
            try:
                # A comment, so that the head goes out at once.
                await session.wait(_send(send, b":\n\n"))
                while scope["method"] != "HEAD" and (second := await session.wait(anext(events, None))):
                    session.confirm()
                    await session.wait(_send(send, _event(second, cluster=self._cluster)))
            except GatewayError as error:
                last = b"event: error\ndata: %b\n\n" % orjson.dumps(failure_object(error))
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _event(second: Second, *, cluster: bool) -> bytes:
    held: dict[str, Any] | None = None
    if second.held is not None:
        moment, streams, groups = second.held
        held = {"time": moment * HELD_SECONDS * 1000, "streams": streams, "groups": groups}
    told = {
        "scope": _SCOPES[cluster],
        "nodes": second.reach.nodes,
        "missing": second.reach.missing,
        "complete": second.reach.complete,
        "time": second.second * 1000,
        "series": second.values,
        "held": held,
        "by_node": second.by_node,
    }
    return b"id: %d\nevent: statistics\ndata: %b\n\n" % (second.second * 1000, orjson.dumps(told))


def _past_object(past: Past, *, cluster: bool) -> dict[str, Any]:
    return {
        "scope": _SCOPES[cluster],
        "nodes": past.reach.nodes,
        "missing": past.reach.missing,
        "complete": past.reach.complete,
        "end": _end(past.seconds, STEP_SECONDS),
        "step_ms": STEP_SECONDS * 1000,
        "series": past.series,
        "held": {
            "end": _end(past.held_moments, HELD_SECONDS),
            "step_ms": HELD_SECONDS * 1000,
            "streams": past.streams,
            "groups": past.groups,
        },
        "by_node": past.by_node,
    }


def _end(moments: range, step: int) -> int | None:
    return moments[-1] * step * 1000 if moments else None


def _parameters(request: Request, *names: str) -> dict[str, str]:
    parameters = decode_query(request.scope["query_string"])
    check_names((name for name, _ in parameters), names)
    return dict(parameters)


def _is_cluster(parameters: dict[str, str]) -> bool:
    scope = parameters.get("scope", _SCOPES[0])
    if scope not in _SCOPES:
        raise BadCommand(f"scope {scope[:32]!r} must be one of {', '.join(_SCOPES)}")
    return scope == _SCOPES[1]


def _number(parameters: dict[str, str], name: str, *, least: int, most: int) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not (
        text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER and least <= int(text) <= most
    ):
        raise BadCommand(f"{name} {text[:32]!r} must be a number from {least} to {most}")
    return int(text)
