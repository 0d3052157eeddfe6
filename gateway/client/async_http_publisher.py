"""Publishing without a socket, for asynchronous programs: by ``POST /v1/publish``, from any task."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

import anyio

from gateway.client.errors import ClientClosed
from gateway.client.outgoing import Outgoing, all_published
from gateway.client.publish_batches import WaitingPublish, request_body
from gateway.client.publish_requests import PublishRequests, outgoing, results_of, the_one, undone
from gateway.errors import WrongEventLoop

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from gateway.client.body import Data
    from gateway.client.dialler import Token
    from gateway.client.publishing import DeleteOptions, PublishOptions
    from gateway.core.messages.events import Published
    from gateway.core.timing.backoff import Backoff
    from gateway.errors import GatewayError


class AsyncHttpPublisher:
    """Publishes from any number of tasks of one event loop; each gets the reply to its own message.

    What tasks publish at the same time goes in one request. What fails for now is sent again until it is
    answered or its time is over: a repeat is harmless, since each message has an idempotency key.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        backoff: Backoff | None = None,
        idempotent: bool = True,
    ) -> None:
        """Make one; nothing is connected before the first message.

        Args:
            url: the gateway's address.
            token: a bearer token, or an async function that returns a fresh one.
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
        self._requests = PublishRequests(
            url, token=token, tls=tls, timeout=timeout, backoff=backoff, idempotent=idempotent
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turned = anyio.Event()
        self._client: Any = None
        self._closed = False

    async def publish(self, topic: str, data: Data, **options: Unpack[PublishOptions]) -> Published:
        """Publish a JSON value, text or bytes, as ``Client.publish`` does, and wait until the gateway has it.

        Raises:
            GatewayError: ``BadTopic``, ``BadCommand``, ``TooLarge`` and the others: refused, not published.
                ``NotSent``: the gateway could not be reached. ``NoAnswer``: nobody knows.
        """
        return the_one(await self._settled([outgoing(topic, data, options)], options.get("timeout")))

    async def delete(self, topic: str, **options: Unpack[DeleteOptions]) -> Published:
        """Publish that ``topic`` has no value any more.

        Raises:
            GatewayError: as ``publish``.
        """
        return the_one(
            await self._settled([outgoing(topic, None, options, deleted=True)], options.get("timeout"))
        )

    async def publish_many(
        self,
        messages: Iterable[Outgoing],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as publish has it
    ) -> list[Published]:
        """Publish messages in their order, in as few requests as they take.

        Args:
            messages: ``OutgoingMessage``s, or pairs of topic and data.
            timeout: seconds for all of them.

        Raises:
            BadTopic, BadCommand: one of them can't be published; none was.
            PartlyPublished: some were not published; it has all the results.
        """
        return all_published(await self._settled(messages, timeout))

    async def close(self) -> None:
        """Close the connections; calls that wait end with ``ClientClosed``."""
        self._closed = True
        self._turn()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _turn(self) -> None:
        self._turned.set()
        self._turned = anyio.Event()

    async def _settled(
        self,
        messages: Iterable[Outgoing],
        timeout: float | None,  # noqa: ASYNC109 - as publish has it
    ) -> list[Published | GatewayError]:
        if self._loop is not asyncio.get_running_loop():
            if self._loop is not None:
                raise WrongEventLoop("the publisher is used in another event loop; make one for each loop")
            self._loop = asyncio.get_running_loop()
        requests, batches = self._requests, self._requests.batches
        seconds = requests.seconds(timeout)
        waiting = requests.waiting(messages)
        try:
            with anyio.move_on_after(seconds):
                while undone(waiting) and not self._closed:
                    if batches.busy:
                        await self._turned.wait()
                    elif (pause := batches.wait(anyio.current_time())) > 0.0:
                        await anyio.sleep(pause)
                    else:
                        await self._attempt(seconds)
            if self._closed and undone(waiting):
                raise ClientClosed("the publisher is closed")
        finally:
            results = results_of(waiting, seconds)
        return results

    async def _attempt(self, seconds: float) -> None:
        """Send one request; cancelled, it leaves what it took to the tasks that wait for it."""
        requests = self._requests
        if self._client is None:
            self._client = requests.library.AsyncClient(**requests.client_options)
        batch = requests.batches.take()
        end: Callable[[float], None] = partial(requests.ended, batch, None)
        try:
            end = await self._sent(batch, seconds)
        finally:
            end(anyio.current_time())
            self._turn()

    async def _sent(self, batch: list[WaitingPublish], seconds: float) -> Callable[[float], None]:
        requests = self._requests
        try:
            fresh = await self._token() if requests.needs_token and callable(self._token) else None
            headers = requests.headers(fresh)
        except Exception as error:  # noqa: BLE001 - a function of the program's, which fails as it likes
            return partial(requests.without_token, batch, error)
        limits = requests.library.Timeout(seconds, connect=seconds / 2)
        try:
            response = await self._client.post(
                requests.address, content=request_body(batch), headers=headers, timeout=limits
            )
        except requests.library.RequestError as error:
            return partial(requests.ended, batch, error)
        except RuntimeError as error:
            if not self._closed:
                raise
            return partial(requests.ended, batch, error)
        return partial(requests.ended, batch, response)
