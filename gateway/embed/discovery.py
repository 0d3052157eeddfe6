"""Where in an application gateways are mounted: what our server must know before it asks the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.codecs.url_path import written_path
from gateway.embed.gateway import Gateway
from gateway.embed.mounting import Mounted
from gateway.transports.websocket.connection import WEBSOCKET_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 20


def mounts(app: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Gateway]]:  # noqa: ANN401 - any
    """Every gateway in ``app`` that can be found, with the path that it is mounted under.

    Found are those mounted by ``Gateway.mount`` or by Starlette's ``Mount``, FastAPI's too, also behind
    middleware that keeps what it wraps as ``app``. Others work all the same, the portable way.
    """
    if depth > _DEEPEST:
        return
    if isinstance(app, Gateway):
        yield prefix, app
        return
    if isinstance(app, Mounted):
        yield from mounts(app.gateway, prefix + app.path, depth + 1)
    else:
        for route in _list(getattr(app, "routes", ())):
            path, below = getattr(route, "path", None), getattr(route, "app", None)
            if isinstance(path, str) and "{" not in path and hasattr(route, "routes"):
                yield from mounts(below, prefix + path, depth + 1)
    inner = getattr(app, "app", None)
    if inner is not None:
        yield from mounts(inner, prefix, depth + 1)


def websocket_paths(app: object) -> frozenset[bytes]:
    """The paths whose WebSockets may be taken over, as they stand in a request."""
    return frozenset(written_path(f"{prefix}{WEBSOCKET_PATH}").encode() for prefix, _ in mounts(app))


def _list(routes: object) -> list[Any]:
    return list(routes) if isinstance(routes, list | tuple) else []
