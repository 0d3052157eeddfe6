"""Why a connection ended, and whether to connect again (docs/protocol.md, "Close codes")."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass

from websockets.exceptions import InvalidStatus

from gateway.client.errors import ConnectFailed, ConnectionLost
from gateway.core.session.close_codes import CloseCode
from gateway.errors import (
    BadFrame,
    GatewayError,
    NotFound,
    NotPermitted,
    RateLimited,
    TooLarge,
    TooMany,
    Unauthenticated,
)

TOO_FAST_SECONDS = 10.0
PERMANENT: dict[int, type[GatewayError]] = {
    # RFC 6455, 7.4.1: the peer says that we break the protocol; the same again would too.
    CloseCode.PROTOCOL_ERROR: BadFrame,
    CloseCode.INVALID_TEXT: BadFrame,
    CloseCode.POLICY_VIOLATION: NotPermitted,
    CloseCode.BAD_FRAMES: BadFrame,
    CloseCode.UNAUTHENTICATED: Unauthenticated,
    CloseCode.BLOCKED: NotPermitted,
    CloseCode.AUTH_TIMEOUT: Unauthenticated,
    CloseCode.TOO_MANY: TooMany,
}
"""What is raised for the codes after which it is no use to come back."""
REFUSED: dict[int, type[GatewayError]] = {
    401: Unauthenticated,
    403: NotPermitted,
    404: NotFound,
    413: TooLarge,
    429: RateLimited,
    431: TooLarge,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection, or the attempt to make one, ended.

    Attributes:
        error: what is raised where the end cannot be hidden.
        reconnect: whether trying again can help.
        retry_after_seconds: how long the gateway asked to be left alone.
        renew: only a fresh token helps.
    """

    error: GatewayError
    reconnect: bool
    retry_after_seconds: float = 0.0
    renew: bool = False


def closed(code: int, reason: str) -> Ending:
    """The ending for a close code received (1006: none was)."""
    told = f"the gateway closed the connection with {code}" + (f" ({reason})" if reason else "")
    if code == CloseCode.BROKEN:
        return Ending(ConnectionLost("the connection broke"), reconnect=True)
    if code == CloseCode.TOO_LARGE:
        return Ending(TooLarge(f"{told}: a frame was larger than it takes"), reconnect=True)
    if code == CloseCode.RATE:
        return Ending(ConnectionLost(told), reconnect=True, retry_after_seconds=TOO_FAST_SECONDS)
    if code in PERMANENT:
        return Ending(PERMANENT[code](told), reconnect=False, renew=CloseCode(code).renew)
    return Ending(ConnectionLost(told), reconnect=True)


def not_connected(error: Exception) -> Ending:
    """The ending for a failed attempt to connect."""
    if isinstance(error, GatewayError):
        return Ending(error, reconnect=error.retry)
    if isinstance(error, InvalidStatus):
        return _refused(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    failed = ConnectFailed(f"no connection to the gateway: {text}")
    failed.__cause__ = error
    return Ending(failed, reconnect=True)


def _refused(error: InvalidStatus) -> Ending:
    status = error.response.status_code
    told = f"the gateway refused the connection with HTTP {status}"
    wait = retry_after_seconds(error.response.headers.get("Retry-After"))
    if status in {408, 429} or not 400 <= status < 500:
        kind = REFUSED.get(status, ConnectFailed)
        return Ending(kind(told), reconnect=True, retry_after_seconds=wait)
    return Ending(REFUSED.get(status, GatewayError)(told), reconnect=False, renew=status == 401)


def retry_after_seconds(value: str | None) -> float:
    """Read ``Retry-After`` (RFC 9110, 10.2.3), seconds or a date; 0 for neither, 10 minutes at most."""
    if value is None:
        return 0.0
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 600))
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(moment - time.time(), 0.0), 600.0)


def drained(reason: str, retry_after_ms: int) -> Ending:
    """The ending for a ``goaway``."""
    error = ConnectionLost(f"the gateway sent this client away: {reason}")
    return Ending(error, reconnect=True, retry_after_seconds=min(max(retry_after_ms, 0) / 1000, 600.0))
