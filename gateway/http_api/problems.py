"""Errors over HTTP: RFC 9457 ``application/problem+json``, with the wire's ``code``."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from gateway.core.session.rate import RateLimit
from gateway.errors import GatewayError, Unauthenticated
from gateway.http_api.bodies import UNFINISHED

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
PROBLEM_TYPE_PREFIX: Final = "urn:fanout-gateway:error:"
RETRY_AFTER_SECONDS: Final = 1
"""What ``Retry-After`` says on a 429 or 503 that knows no better: most bounds drain within a second."""

_UNTOLD_SECONDS: Final = 5.0
_UNTOLD_BURST: Final = 3
"""How often the log says what clients are not told; they may cause it thousands of times a second."""

_log: Final = logging.getLogger("gateway")

_CODES: Final[Mapping[int, str]] = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    429: "rate_limited",
    503: "unavailable",
}

ExceptionHandler = Callable[[Request, Exception], Awaitable[Response]]


def problem(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem; 429 and 503 get a ``Retry-After`` whatever ``headers`` holds."""
    body = {
        "type": PROBLEM_TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    all_headers = dict(headers or {})
    if status in {429, 503}:
        all_headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return JSONResponse(body, status, all_headers, media_type=PROBLEM_MEDIA_TYPE)


def problem_of(error: GatewayError, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem that tells ``error``; a 401 says how to authenticate (RFC 9110, 11.6.1)."""
    all_headers = dict(headers or {})
    if isinstance(error, UNFINISHED):
        all_headers["Connection"] = "close"
    if isinstance(error, Unauthenticated):
        all_headers.setdefault("WWW-Authenticate", "Bearer")
    if error.retry_after_seconds is not None:
        all_headers.setdefault("Retry-After", str(max(1, math.ceil(error.retry_after_seconds))))
    return problem(error.http_status, error.code, error.told, headers=all_headers)


async def _http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    fallback = "internal" if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_command"
    code = _CODES.get(error.status_code, fallback)
    return problem(error.status_code, code, error.detail, headers=error.headers)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    # Nobody reads it; without a handler each client that hangs up would log a stack trace.
    return problem(400, "bad_frame", "the body ended early")


async def _defect(_request: Request, _error: Exception) -> Response:
    return problem(500, "internal", "a defect of the gateway; its log has the record")


def problem_teller() -> Callable[[GatewayError], Response]:
    """Return what tells errors by their problems, and tells the log, now and then, what those do not."""
    untold = RateLimit(1 / _UNTOLD_SECONDS, _UNTOLD_BURST, now=time.monotonic())

    def tell(error: GatewayError) -> Response:
        if error.instead and untold.allow(time.monotonic()):
            _log.warning("request failed: %s", error)
        return problem_of(error)

    return tell


def exception_handlers() -> dict[Any, ExceptionHandler]:
    """The handlers for ``Starlette(exception_handlers=…)``: every error of every route is a problem."""
    tell = problem_teller()

    async def gateway_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        return tell(error)

    return {
        GatewayError: gateway_error,
        HTTPException: _http_exception,
        ClientDisconnect: _client_gone,
        Exception: _defect,
    }
