"""What can go wrong on the client's side, and the gateway's refusals as exceptions.

All are ``GatewayError``s: a refusal raises the class that bears its wire code (``BadTopic``, ``NotPermitted``
…), and what only a client can see is drawn here.

Unavailable
├── NotSent            never sent: certainly not done
│   └── ConnectFailed      no connection came about
└── NoAnswer           sent, but not answered: done or not, nobody knows
    ├── ConnectionLost     the connection ended before the reply
    └── CommandTimeout     no reply in time
ClientClosed           the client is used outside its ``async with``, or was closed meanwhile
WrongEventLoop         it is used in another event loop than the one it was opened in
InvalidData            what was received does not fit the model
PartlyPublished        of several messages some were not published
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import errors
from gateway.errors import GatewayError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.client.message import Message
    from gateway.core.messages.events import Failure, Published


class NotSent(Unavailable):
    """The command never left this program: it was certainly not carried out, and can be repeated."""


class NoAnswer(Unavailable):
    """The command was sent and not answered: it may have been carried out or not."""


class ConnectFailed(NotSent):
    """The gateway could not be reached, or it refused the connection for now."""


class ConnectionLost(NoAnswer):
    """The connection ended before the reply came: the command may have been carried out or not."""


class CommandTimeout(NoAnswer):
    """No reply in time: the command may have been carried out or not."""


class ClientClosed(GatewayError):  # noqa: N818 - named as its siblings are
    """The client is not open: used outside ``async with``, or closed meanwhile."""

    code = "unavailable"
    http_status = 503


class InvalidData(GatewayError):  # noqa: N818 - named as its siblings are
    """A message's data does not fit the model asked for; the cause says why.

    Attributes:
        message: the message as it was received.
    """

    code = "bad_command"
    http_status = 400

    def __init__(self, text: str, message: Message) -> None:
        super().__init__(text)
        self.message = message


class PartlyPublished(GatewayError):  # noqa: N818 - named as its siblings are
    """Of several messages some were not published, or nobody knows; the first failure is the cause.

    Attributes:
        results: for each message, in order, the reply or the error.
        failures: the errors among them.
    """

    code = "bad_command"
    http_status = 400

    def __init__(self, results: Sequence[Published | GatewayError]) -> None:
        self.results = list(results)
        self.failures = [result for result in results if isinstance(result, GatewayError)]
        first = self.failures[0]
        super().__init__(f"{len(self.failures)} of {len(results)} messages were not published: {first}")
        self.__cause__ = first


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
    return refused(failure.code, failure.reason)


def refused(code: str, reason: str) -> GatewayError:
    """The exception for the wire's ``code`` with its ``reason``."""
    known = _BY_CODE.get(code)
    return known(reason) if known else GatewayError(f"{code}: {reason}")
