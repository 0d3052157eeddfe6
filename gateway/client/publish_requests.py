"""What both HTTP publishers share: the library, the request, and how an attempt ended."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.client.address import publish_address
from gateway.client.ending import retry_after_seconds
from gateway.client.errors import NotSent
from gateway.client.outgoing import Outgoing, OutgoingMessage, commands_of
from gateway.client.publish_batches import PublishBatches, WaitingPublish
from gateway.core.loopback import is_loopback
from gateway.core.timing.backoff import Backoff
from gateway.errors import GatewayError, Unauthenticated

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from gateway.client.body import Data
    from gateway.core.messages.events import Published


def _http_library() -> ModuleType:
    for name in ("httpx2", "httpx"):
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise ModuleNotFoundError(
        "HTTP publishers need httpx: pip install 'fanout-gateway-client[http]'", name="httpx"
    )


class PublishRequests:
    """The requests of one publisher, one after the other.

    Attributes:
        library: httpx2 or httpx.
        address: where requests go to.
        batches: what waits, and what is decided about it.
        client_options: for the library's client.
    """

    def __init__(
        self,
        url: str,
        *,
        token: object,
        tls: ssl.SSLContext | None,
        timeout: float,
        backoff: Backoff | None,
        idempotent: bool,
    ) -> None:
        """Check the arguments, which are the publishers'.

        Raises:
            ValueError: a URL that names no gateway.
            ModuleNotFoundError: neither library is installed.
        """
        self.library: Any = _http_library()
        self.address = publish_address(url)
        self.batches = PublishBatches(backoff or Backoff(limit_seconds=5.0), can_renew=callable(token))
        self.client_options: dict[str, Any] = {
            # As the WebSocket's: the environment's proxies, except for loopback addresses.
            "trust_env": not is_loopback(urlsplit(self.address).hostname or ""),
            **({} if tls is None else {"verify": tls}),
        }
        self._timeout = timeout
        self._idempotent = idempotent
        self._token = token if isinstance(token, str) else None
        self._asks_token = callable(token)

    def waiting(self, messages: Iterable[Outgoing]) -> list[WaitingPublish]:
        """Put ``messages`` at the end of the line.

        Raises:
            BadTopic, BadCommand: one of them can't be published; none is in the line.
        """
        commands = commands_of(messages, keyed=self._idempotent)
        waiting = [WaitingPublish(topic, key, make) for topic, key, make in commands]
        self.batches.add(waiting)
        return waiting

    def seconds(self, timeout: float | None) -> float:
        """How long a call may take."""
        return self._timeout if timeout is None else timeout

    @property
    def needs_token(self) -> bool:
        """Whether the next request needs a fresh token."""
        return self._asks_token and (self._token is None or self.batches.token_refused)

    def headers(self, fresh: object = None) -> dict[str, str]:
        """The request's, with ``fresh`` as its token if there is one, else that of the last request.

        Raises:
            Unauthenticated: it is no token.
        """
        token = self._token if fresh is None else fresh
        if token is None:
            return {"content-type": "application/json"}
        if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            # Not repeated in the message; a line break would add header lines of its own.
            raise Unauthenticated("the token must be a text that a header can carry")
        self._token = token
        return {"content-type": "application/json", "authorization": f"Bearer {token}"}

    def without_token(self, batch: list[WaitingPublish], error: Exception, now: float) -> None:
        """The end of an attempt: the token function failed."""
        if isinstance(error, GatewayError):
            told = error
        elif isinstance(error, OSError):
            told = NotSent(f"no token to be had now: {error}")
        else:
            told = Unauthenticated(f"the token function failed: {type(error).__name__}")
        told.__cause__ = error if told is not error else told.__cause__
        self.batches.not_permitted(batch, told, now=now)

    def ended(self, batch: list[WaitingPublish], outcome: object, now: float) -> None:
        """The end of an attempt: a response, the library's exception, or None where nobody waits any more."""
        library = self.library
        if outcome is None:
            self.batches.abandoned(batch)
        elif not isinstance(outcome, Exception):
            response: Any = outcome
            wait = retry_after_seconds(response.headers.get("Retry-After"))
            self.batches.answered(batch, response.status_code, response.content, retry_after=wait, now=now)
        elif isinstance(outcome, (library.ConnectError, library.ConnectTimeout, library.PoolTimeout)):
            self.batches.not_connected(batch, _told(outcome), now=now)
        else:
            self.batches.not_answered(batch, _told(outcome), now=now)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def outgoing(topic: str, data: Data, options: Mapping[str, Any], *, deleted: bool = False) -> OutgoingMessage:
    """The message of one ``publish`` or ``delete``."""
    fields = {name: value for name, value in options.items() if name != "timeout"}
    return OutgoingMessage(topic, data, deleted=deleted, **fields)


def undone(waiting: list[WaitingPublish]) -> bool:
    """Whether one of them has no result yet."""
    return any(each.result is None for each in waiting)


def results_of(waiting: list[WaitingPublish], seconds: float) -> list[Published | GatewayError]:
    """What became of them after ``seconds``; what has no result is given up."""
    return [each.give_up(seconds) if each.result is None else each.result for each in waiting]


def the_one(results: list[Published | GatewayError]) -> Published:
    """The only result.

    Raises:
        GatewayError: it is one.
    """
    (result,) = results
    if isinstance(result, GatewayError):
        raise result
    return result
