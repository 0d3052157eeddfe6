"""Publishing without a socket, for scripts and views: by ``POST /v1/publish``, from any number of threads."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, Unpack
from weakref import WeakSet

from gateway.client.errors import ClientClosed
from gateway.client.outgoing import Outgoing, all_published
from gateway.client.publish_batches import WaitingPublish, request_body
from gateway.client.publish_requests import PublishRequests, outgoing, results_of, the_one, undone

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from types import TracebackType

    from gateway.client.body import Data
    from gateway.client.publishing import DeleteOptions, PublishOptions
    from gateway.core.messages.events import Published
    from gateway.core.timing.backoff import Backoff
    from gateway.errors import GatewayError

SyncToken: TypeAlias = str | Callable[[], str] | None
"""A bearer token, or how to get one: called before the first request, and when the last one was refused."""

_publishers: Final[WeakSet[HttpPublisher]] = WeakSet()


class HttpPublisher:
    """Publishes from any number of threads, in scripts and in views; each gets the reply to its own message.

    What threads publish at the same time goes in one request. What fails for now is sent again until it is
    answered or its time is over: a repeat is harmless, since each message has an idempotency key.
    """

    def __init__(
        self,
        url: str,
        *,
        token: SyncToken = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        backoff: Backoff | None = None,
        idempotent: bool = True,
    ) -> None:
        """Make one; nothing is connected before the first message.

        Args:
            url: the gateway's address.
            token: a bearer token, or a function that returns a fresh one.
            tls: for ``https``; the library's trust store otherwise.
            timeout: seconds for a call, all its attempts together.
            backoff: the waits between attempts.
            idempotent: give messages without an idempotency key one. Without it, what may have been published
                is not sent again.

        Raises:
            ValueError: a URL that names no gateway.
            ModuleNotFoundError: neither httpx2 nor httpx is installed.
        """
        self._token = token

        def make() -> PublishRequests:
            return PublishRequests(
                url, token=token, tls=tls, timeout=timeout, backoff=backoff, idempotent=idempotent
            )

        self._make = make
        self._closed = False
        self._begin()
        _publishers.add(self)

    def _begin(self) -> None:
        """Also in a process that was forked: the connections, the lock and the line are the parent's."""
        self._requests = self._make()
        self._turn = threading.Condition()
        self._client: Any = None

    def publish(self, topic: str, data: Data, **options: Unpack[PublishOptions]) -> Published:
        """Publish a JSON value, text or bytes, as ``Client.publish`` does, and wait until the gateway has it.

        Raises:
            GatewayError: ``BadTopic``, ``BadCommand``, ``TooLarge`` and the others: refused, not published.
                ``NotSent``: the gateway could not be reached. ``NoAnswer``: nobody knows.
        """
        return the_one(self._settled([outgoing(topic, data, options)], options.get("timeout")))

    def delete(self, topic: str, **options: Unpack[DeleteOptions]) -> Published:
        """Publish that ``topic`` has no value any more.

        Raises:
            GatewayError: as ``publish``.
        """
        return the_one(self._settled([outgoing(topic, None, options, deleted=True)], options.get("timeout")))

    def publish_many(self, messages: Iterable[Outgoing], *, timeout: float | None = None) -> list[Published]:
        """Publish messages in their order, in as few requests as they take.

        Args:
            messages: ``OutgoingMessage``s, or pairs of topic and data.
            timeout: seconds for all of them.

        Raises:
            BadTopic, BadCommand: one of them can't be published; none was.
            PartlyPublished: some were not published; it has all the results.
        """
        return all_published(self._settled(messages, timeout))

    def close(self) -> None:
        """Close the connections; calls that wait end with ``ClientClosed``."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _settled(self, messages: Iterable[Outgoing], timeout: float | None) -> list[Published | GatewayError]:
        requests, batches = self._requests, self._requests.batches
        seconds = requests.seconds(timeout)
        deadline = time.monotonic() + seconds
        with self._turn:
            waiting = requests.waiting(messages)
            try:
                while undone(waiting) and not self._closed and (left := deadline - time.monotonic()) > 0.0:
                    if batches.busy:
                        self._turn.wait(left)
                    elif (pause := batches.wait(time.monotonic())) > 0.0:
                        self._turn.wait(min(pause, left))
                    else:
                        self._attempt(left)
                if self._closed and undone(waiting):
                    raise ClientClosed("the publisher is closed")
            finally:
                results = results_of(waiting, seconds)
            return results

    def _attempt(self, seconds: float) -> None:
        """Send one request, with the condition released meanwhile."""
        requests = self._requests
        if self._client is None:
            self._client = requests.library.Client(**requests.client_options)
        client = self._client
        batch = requests.batches.take()
        self._turn.release()
        end: Callable[[float], None] = partial(requests.ended, batch, None)
        try:
            end = self._sent(client, batch, seconds)
        finally:
            self._turn.acquire()
            end(time.monotonic())
            self._turn.notify_all()

    def _sent(self, client: Any, batch: list[WaitingPublish], seconds: float) -> Callable[[float], None]:  # noqa: ANN401 - either library's
        requests = self._requests
        try:
            fresh = self._token() if requests.needs_token and callable(self._token) else None
            headers = requests.headers(fresh)
        except Exception as error:  # noqa: BLE001 - a function of the program's, which fails as it likes
            return partial(requests.without_token, batch, error)
        # The library has a limit for each step only: to connect, and then to answer.
        limit = max(seconds / 2, 0.001)
        try:
            response = client.post(
                requests.address, content=request_body(batch), headers=headers, timeout=limit
            )
        except requests.library.RequestError as error:
            return partial(requests.ended, batch, error)
        except RuntimeError as error:
            if not self._closed:
                raise
            return partial(requests.ended, batch, error)
        return partial(requests.ended, batch, response)


def _begin_after_fork() -> None:
    for publisher in list(_publishers):
        publisher._begin()  # noqa: SLF001 - of this module


if sys.platform != "win32":
    # Here, before the child has threads that would do it at the same time.
    os.register_at_fork(after_in_child=_begin_after_fork)
