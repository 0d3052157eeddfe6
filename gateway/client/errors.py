"""What can go wrong on the client's side, and the gateway's refusals as exceptions.

All are ``GatewayError``s: a refusal raises the class that bears its wire code (``BadTopic``, ``NotPermitted``
…), and what only a client can see is drawn here.

Unavailable
├── ConnectFailed      no connection came about
├── ConnectionLost     the connection ended before the reply: done or not, nobody knows
└── CommandTimeout     no reply in time: the same
ClientClosed           the client is used outside its ``async with``, or was closed meanwhile
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import errors
from gateway.errors import GatewayError, Unavailable

if TYPE_CHECKING:
    from gateway.core.messages.events import Failure


class ConnectFailed(Unavailable):
    """The gateway could not be reached, or it refused the connection for now."""


class ConnectionLost(Unavailable):
    """The connection ended before the reply came: the command may have been carried out or not."""


class CommandTimeout(Unavailable):
    """No reply in time: the command may have been carried out or not."""


class ClientClosed(GatewayError):  # noqa: N818 - named as its siblings are
    """The client is not open: used outside ``async with``, or closed meanwhile."""

    code = "unavailable"
    http_status = 503


_BY_CODE: dict[str, type[GatewayError]] = {
    error.code: error
    for error in (
        errors.BadFrame,
        errors.BadCommand,
        errors.BadTopic,
        errors.BadFilter,
        errors.Unauthenticated,
        errors.TokenExpired,
        errors.NotPermitted,
        errors.NotFound,
        errors.TooLarge,
        errors.Conflict,
        errors.TooMany,
        errors.RateLimited,
        errors.Unavailable,
        errors.InternalError,
    )
}


def refusal(failure: Failure) -> GatewayError:
    """The exception for an ``error`` frame; a code not known here makes a plain ``GatewayError``."""
    known = _BY_CODE.get(failure.code)
    return known(failure.reason) if known else GatewayError(f"{failure.code}: {failure.reason}")
