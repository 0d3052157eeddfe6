"""``/v1/audit``: what administrators did; and what keeps it, around every route that changes something.

Spec: docs/http.md, "Audit".
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.query import check_names, decode_query
from gateway.core.cluster.audit import MOST_PER_PAGE, Place, merge_records
from gateway.errors import BadCommand, GatewayError
from gateway.http_api.authentication import ADMINISTRATOR
from gateway.http_api.publishing.receipts import json_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.core.cluster.audit import AuditTrail, Detail
    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.http_api.authentication import RequestAuthenticator

AUDIT_PATH: Final = "/v1/audit"

_DETAIL: Final = "gateway.audit"
_PER_PAGE: Final = 100
_LONGEST: Final = 1_024
_CHANGING: Final = frozenset({"POST", "PUT", "DELETE"})

_log = logging.getLogger("gateway.audit")


def note(scope: Scope, **detail: Detail) -> None:
    """Say what a request was about, for its record: names and numbers, never what messages hold."""
    scope.setdefault(_DETAIL, {}).update(
        {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in detail.items()}
    )


class Audited:
    """An ASGI application whose requests are kept in ``trail``, where administrators made them."""

    def __init__(self, app: ASGIApp, trail: AuditTrail) -> None:
        self._app = app
        self._trail = trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then keep what it was and what came of it."""
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except GatewayError as error:
            status = status or error.http_status
            raise
        except Exception:
            status = status or 500
            raise
        finally:
            self._keep(scope, status)

    def _keep(self, scope: Scope, status: int) -> None:
        principal = scope.get(ADMINISTRATOR)
        # What others are refused is counted elsewhere: they must not push out what administrators did.
        if principal is None:
            return
        record = self._trail.add(
            time=time.time_ns() // 1_000_000,
            subject=principal.subject,
            peer=peer_of(scope).text,
            method=scope["method"],
            path=scope["path"][:_LONGEST],
            status=status,
            detail=scope.get(_DETAIL, {}),
        )
        _log.info(
            "%s %s by %r from %s: %d %s",
            record.method,
            record.path,
            record.subject,
            record.peer,
            record.status,
            orjson.dumps(record.detail).decode(),
        )


def audited(routes: Iterable[Route], trail: AuditTrail) -> list[Route]:
    """Return ``routes``, of which those that change something keep what administrators do in ``trail``."""
    found = list(routes)
    for route in found:
        if route.methods is not None and not _CHANGING.isdisjoint(route.methods):
            route.app = Audited(route.app, trail)
    return found


class AuditRoute:
    """The endpoint; every error is raised as a ``GatewayError``."""

    def __init__(self, administration: ClusterAdministration, administrator: RequestAuthenticator) -> None:
        """Tell of all nodes; ``administrator`` must let administrators through alone."""
        self._administration = administration
        self._administrator = administrator

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route(AUDIT_PATH, self.read, methods=["GET"])]

    async def read(self, request: Request) -> Response:
        """Return what administrators did last, the newest first."""
        await self._administrator(request)
        parameters = decode_query(request.scope["query_string"])
        check_names((name for name, _ in parameters), ("limit", "before"))
        asked = dict(parameters)
        limit, before = _limit(asked.get("limit")), _before(asked.get("before"))
        parts, reach = await self._administration.audit(limit=limit, before=before)
        records, following = merge_records(parts, limit)
        told: dict[str, Any] = {"records": [asdict(each) for each in records], "next": following}
        return json_answer(told | asdict(reach))


def _limit(text: str | None) -> int:
    if text is None:
        return _PER_PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST_PER_PAGE):
        raise BadCommand(f"limit {text[:32]!r} must be a number from 1 to {MOST_PER_PAGE}")
    return int(text)


def _before(text: str | None) -> Place | None:
    if text is None:
        return None
    place = Place.read(text)
    if place is None:
        raise BadCommand(f"before {text[:32]!r}: it is the 'next' of the page before")
    return place
