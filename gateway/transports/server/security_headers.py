"""What every HTTP response tells browsers: nothing of it is a page to be framed, sniffed or run.

A response that says more about one of these itself, as the console's do, keeps its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.transports.http.scopes import path_below_mount

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Field: TypeAlias = tuple[bytes, bytes]

HEADERS: Final[Sequence[Field]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# Answers of the API are data, which no browser takes for a page as long as it may not guess; each header
# costs a publish over HTTP a per cent.
API_HEADERS: Final[Sequence[Field]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)


class _Fields:
    """Headers that an answer gets, each unless it says something of that name itself."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields
        self._names = frozenset(name for name, _ in fields)

    def added_to(self, headers: Iterable[Field]) -> list[Field]:
        answer = list(headers)
        present = [name for name, _ in answer]
        if self._names.isdisjoint(present):
            answer += self._fields
        else:
            answer += [field for field in self._fields if field[0] not in present]
        return answer


_PAGES: Final = _Fields(HEADERS)
_DATA: Final = _Fields(API_HEADERS)


class SecurityHeaders:
    """ASGI middleware that adds them; answers under ``/v1`` and ``/metrics`` get those of data."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = _DATA if path_below_mount(scope).startswith(("/v1/", "/metrics")) else _PAGES

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = wanted.added_to(message["headers"])
            await send(message)

        await self._app(scope, receive, send_with_headers)
