"""``/v1/nodes``, ``/v1/connections`` and ``/v1/disconnect``: who is there, and ending connections.

Spec: docs/http.md, "Administration".
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Route

from gateway.codecs.query import check_names, decode_query
from gateway.core.cluster.block_list import LONGEST_BLOCK_SECONDS, LONGEST_SUBJECT
from gateway.core.cluster.control import LONGEST_NAME, MOST_PER_PAGE, SearchConnections
from gateway.errors import BadCommand
from gateway.http_api.audit import note
from gateway.http_api.bodies import BodyReader
from gateway.http_api.publishing.receipts import json_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.http_api.authentication import RequestAuthenticator

NODES_PATH: Final = "/v1/nodes"
CONNECTIONS_PATH: Final = "/v1/connections"
DISCONNECT_PATH: Final = "/v1/disconnect"

_SEARCH: Final = ("limit", "after", "order", "subject", "address", "node")
_ORDERS: Final = ("session", "slow")

_PER_PAGE: Final = 100
_BODY_BYTES: Final = 16_384
"""Enough for the longest subject, however JSON writes its characters."""


class _Disconnect(msgspec.Struct, forbid_unknown_fields=True):
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_SUBJECT)]
    block_seconds: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_BLOCK_SECONDS)] | None = None


_decoder: Final = msgspec.json.Decoder(_Disconnect)


def administration_routes(
    administration: ClusterAdministration, authenticate: RequestAuthenticator
) -> list[Route]:
    """Return the routes; ``authenticate`` must let administrators through alone."""
    routes = AdministrationRoutes(administration, authenticate)
    return [
        Route(NODES_PATH, routes.list_nodes, methods=["GET"]),
        Route(CONNECTIONS_PATH, routes.list_connections, methods=["GET"]),
        Route(CONNECTIONS_PATH + "/{session}", routes.describe_session, methods=["GET"]),
        Route(CONNECTIONS_PATH + "/{session}", routes.disconnect_session, methods=["DELETE"]),
        Route(NODES_PATH + "/{node}/drain", routes.drain_node, methods=["POST"]),
        Route(DISCONNECT_PATH, routes.disconnect_subject, methods=["POST"]),
    ]


class AdministrationRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(self, administration: ClusterAdministration, authenticate: RequestAuthenticator) -> None:
        self._bodies = BodyReader()
        self._administration = administration
        self._authenticate = authenticate

    async def list_nodes(self, request: Request) -> Response:
        """Return all nodes."""
        await self._authenticate(request)
        check_names(request.query_params)
        nodes = self._administration.nodes()
        listed = [asdict(nodes.own) | {"silent_seconds": 0.0}]
        listed += [
            asdict(member.facts) | {"silent_seconds": round(max(0.0, nodes.now - member.heard), 3)}
            for member in nodes.others
        ]
        listed.sort(key=lambda each: each["node"])
        return json_answer({"nodes": listed, "complete": nodes.complete})

    async def list_connections(self, request: Request) -> Response:
        """Return one page of all nodes' connections."""
        await self._authenticate(request)
        parameters = QueryParams(decode_query(request.scope["query_string"]))
        check_names((name for name, _ in parameters.multi_items()), _SEARCH)
        limit = _limit(parameters.get("limit"))
        # Names are no longer, so what is behind makes no difference.
        after = parameters.get("after", "")[:LONGEST_NAME]
        if any(name in parameters for name in _SEARCH[2:]):
            page, reach = await self._administration.search(_search(parameters, limit, after))
        else:
            page, reach = await self._administration.connections(limit=limit, after=after)
        connections = [asdict(facts) | {"node": node} for node, facts in page.connections]
        return json_answer({"connections": connections, "next": page.next, **asdict(reach)})

    async def describe_session(self, request: Request) -> Response:
        """Return what there is to know of one connection."""
        await self._authenticate(request)
        check_names(request.query_params)
        session = request.path_params["session"]
        node, details, reach = await self._administration.describe_session(session)
        return json_answer(
            {
                **asdict(details.connection),
                "node": node,
                "filters": [
                    asdict(each) | {"positions": _positions(each.positions)} for each in details.filters
                ],
                "positions": _positions(details.positions),
                "grants": {**details.grants, "admin": details.admin},
                "expires": details.expires,
                **asdict(reach),
            }
        )

    async def drain_node(self, request: Request) -> Response:
        """Have a node drain and end."""
        await self._authenticate(request)
        check_names(request.query_params)
        node = request.path_params["node"]
        await self._administration.drain_node(node)
        return json_answer({"node": node, "draining": True}, status=202)

    async def disconnect_session(self, request: Request) -> Response:
        """End one connection."""
        await self._authenticate(request)
        check_names(request.query_params)
        await self._administration.disconnect_session(request.path_params["session"])
        return Response(status_code=204)

    async def disconnect_subject(self, request: Request) -> Response:
        """End all connections of a subject, and block it where that is asked."""
        await self._authenticate(request)
        check_names(request.query_params)
        asked = _decode(await self._bodies.read(request, limit=_BODY_BYTES))
        # Once more: the body may have taken its time.
        await self._authenticate(request)
        note(request.scope, subject=asked.subject, block_seconds=asked.block_seconds)
        done = await self._administration.disconnect_subject(asked.subject, block_seconds=asked.block_seconds)
        note(request.scope, disconnected=done.disconnected)
        return json_answer(
            {"disconnected": done.disconnected, "blocked_until": done.blocked_until, **asdict(done.reach)}
        )


def _decode(body: bytes) -> _Disconnect:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadCommand(f"the body must be {{subject, block_seconds}}: {exc}") from exc


def _positions(positions: Mapping[str, tuple[str, int]]) -> dict[str, dict[str, str | int]]:
    return {stream: {"epoch": epoch, "offset": offset} for stream, (epoch, offset) in positions.items()}


def _search(parameters: QueryParams, limit: int, after: str) -> SearchConnections:
    order = parameters.get("order", _ORDERS[0])
    if order not in _ORDERS:
        raise BadCommand(f"order {order[:32]!r} must be one of {', '.join(_ORDERS)}")
    for name in ("subject", "address", "node"):
        if len(parameters.get(name, "")) > LONGEST_SUBJECT:
            raise BadCommand(f"{name}: {LONGEST_SUBJECT} characters are the most")
    return SearchConnections(
        limit,
        after,
        order == _ORDERS[1],
        parameters.get("subject"),
        parameters.get("address", ""),
        parameters.get("node", ""),
    )


def _limit(text: str | None) -> int:
    if text is None:
        return _PER_PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST_PER_PAGE):
        raise BadCommand(f"limit {text[:32]!r} must be a number from 1 to {MOST_PER_PAGE}")
    return int(text)
