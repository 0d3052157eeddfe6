"""The console at ``/``: static files of the installed package, or a page that says why there are none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

DIRECTORY = Path(__file__).parents[2] / "console"

_MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Fanout Gateway</title>
<h1>The gateway runs; its console was not built</h1>
<p>Building it needs Node.js 20.19 or newer and npm. Install them, then run <code>make run</code> again,
or install a wheel, which brings the console along.</p>
<p>Everything else works: see <a href="openapi.json">the HTTP API</a>.</p>
"""

# Nothing but the gateway's own files runs or is shown, and no page may frame the console.
_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


def console_routes(directory: Path = DIRECTORY) -> Sequence[BaseRoute]:
    """Return the routes that serve the console from ``directory``."""
    if (directory / "index.html").is_file():
        files = _ContentSecurityPolicy(StaticFiles(directory=directory, html=True))
        # One route per entry: one for all would answer for the API's paths too, and for the wrong reason.
        names = sorted(entry.name + "/{rest:path}" * entry.is_dir() for entry in directory.iterdir())
        return [Route(f"/{name}", files, methods=["GET", "HEAD"], name=name) for name in ("", *names)]
    return [Route("/", _missing, methods=["GET"])]


async def _missing(_request: Request) -> Response:
    return HTMLResponse(_MISSING, headers={"Content-Security-Policy": _POLICY})


class _ContentSecurityPolicy:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy)
