"""``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import NotPermitted
from gateway.observability.metrics import CONTENT_TYPE
from gateway.transports.server.proxies import is_local

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway.observability.health import Health
    from gateway.observability.metrics import Metrics


def probe_routes(
    health: Health,
    metrics: Metrics,
    *,
    administrator: Callable[[Request], Awaitable[object]],
    check_anonymous: Callable[[str], None],
) -> list[Route]:
    """Return the routes that an orchestrator and a Prometheus server ask.

    Args:
        health: of the node.
        metrics: of the node.
        administrator: raises where a request is not an administrator's; metrics beyond this machine need one.
        check_anonymous: raises where a request to this ``Host`` needs a credential wherever it comes from.

    Spec: docs/http.md, "Probes and metrics".
    """

    async def livez(_request: Request) -> Response:
        if health.alive:
            return Response(b'{"status":"alive"}', media_type="application/json")
        answer = {"status": "failing", "failing": health.given_up()}
        return Response(
            orjson.dumps(answer),
            status_code=503,
            headers={"Retry-After": "1"},
            media_type="application/json",
        )

    async def readyz(_request: Request) -> Response:
        readiness = health.readiness()
        answer: dict[str, object] = {"status": readiness.status}
        if readiness.away:
            answer["away"] = readiness.away
        if readiness.failing:
            answer["failing"] = readiness.failing
        if readiness.reasons:
            answer["reasons"] = readiness.reasons
        return Response(
            orjson.dumps(answer),
            status_code=200 if readiness.ready else 503,
            headers={} if readiness.ready else {"Retry-After": "1"},
            media_type="application/json",
        )

    async def metrics_page(request: Request) -> Response:
        if not _is_own(request, check_anonymous):
            await administrator(request)
        return Response(await metrics.scrape(), headers={"Content-Type": CONTENT_TYPE})

    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics_page, methods=["GET"]),
    ]


def _is_own(request: Request, check_anonymous: Callable[[str], None]) -> bool:
    """Whether it was made on this machine, and not by a page that a browser shows there."""
    if not is_local(request.scope):
        return False
    try:
        check_anonymous(request.headers.get("host", ""))
    except NotPermitted:
        return False
    return True
