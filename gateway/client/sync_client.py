"""The client for programs without an event loop: scripts, threads, views."""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, Unpack, overload

import anyio
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from gateway.client.client import Client
from gateway.client.errors import ClientClosed, PartlyPublished
from gateway.client.publish_requests import outgoing
from gateway.client.tracing import with_trace_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import TracebackType

    from anyio.from_thread import BlockingPortal

    from gateway.client.body import Data
    from gateway.client.client import ClientStatistics
    from gateway.client.http_publisher import SyncToken
    from gateway.client.message import Message
    from gateway.client.models import Model, TypedMessage
    from gateway.client.outgoing import Outgoing, OutgoingMessage
    from gateway.client.positions import PositionFields
    from gateway.client.publishing import DeleteOptions, PublishOptions
    from gateway.client.subscription import ClientSubscription, SubscribeOptions
    from gateway.core.messages.events import Gap, Published, Welcome
    from gateway.core.timing.backoff import Backoff

Item_co = TypeVar("Item_co", covariant=True)
Result = TypeVar("Result")


class SyncClient:
    """A ``Client`` in a thread of its own, with calls that block; any thread may make them.

    Used with ``with``. What is published has an idempotency key, and is sent again after a lost connection
    and while it is refused for now.
    """

    def __init__(
        self,
        url: str,
        *,
        token: SyncToken = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        retry_first: bool = False,
        backoff: Backoff | None = None,
        frame_bytes: int = 16 * 2**20,
        ping_interval: float = 20.0,
        ping_timeout: float = 20.0,
    ) -> None:
        """Make a client; nothing is connected before ``with``.

        Args:
            url: the gateway's HTTP address, or that of its WebSocket.
            token: a bearer token, or a function that returns a fresh one, called in a thread.
            tls: for ``https`` and ``wss``; the system's trust store otherwise.
            timeout: seconds for a command to be answered, and for the first connection.
            retry_first: don't raise when the first connection fails for now, but keep trying.
            backoff: the waits between attempts to connect.
            frame_bytes: the largest frame taken from the gateway.
            ping_interval: seconds of silence after which the gateway is asked whether it lives.
            ping_timeout: seconds it has for the answer, before the connection is given up.

        Raises:
            ValueError: a URL that names no gateway.
        """
        self._client = Client(
            url,
            token=_awaitable(token) if callable(token) else token,
            tls=tls,
            timeout=timeout,
            retry_first=retry_first,
            backoff=backoff,
            frame_bytes=frame_bytes,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
        )
        self._portal: BlockingPortal | None = None
        self._process = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            GatewayError: no connection; ``ConnectFailed`` where nothing answered, else the gateway's refusal.
        """
        if self._process:
            raise ClientClosed("a client is used in one 'with' only; make a new one")
        self._process = os.getpid()
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio"))
            stack.enter_context(portal.wrap_async_context_manager(self._client))
            stack.callback(self._closing)
            self._portal = portal
            self._open = stack.pop_all()
        # A process that ends without leaving the block would wait for a thread that Python has stopped.
        atexit.register(self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Given no exception: what the block raised is nothing to the thread of the client.
        self._end()
        atexit.unregister(self._end)

    def _end(self) -> None:
        if self._process == os.getpid():
            self._open.close()

    @property
    def welcome(self) -> Welcome | None:
        """What the gateway said of itself on the present connection; None while there is none."""
        return self._client.welcome

    def statistics(self) -> ClientStatistics:
        """A snapshot, as ``Client.statistics`` has it."""
        return self.call(_later(self._client.statistics))

    def publish(self, topic: str, data: Data, **options: Unpack[PublishOptions]) -> Published:
        """Publish a JSON value, text or bytes, as ``Client.publish`` does, and wait until the gateway has it.

        Raises:
            GatewayError: ``BadTopic``, ``BadCommand``, ``TooLarge`` and the others: refused, not published.
                ``NotSent``: no connection in time. ``NoAnswer``: nobody knows.
        """
        return self._publish(outgoing(topic, data, _traced(options)), options.get("timeout"))

    def delete(self, topic: str, **options: Unpack[DeleteOptions]) -> Published:
        """Publish that ``topic`` has no value any more.

        Raises:
            GatewayError: as ``publish``.
        """
        return self._publish(outgoing(topic, None, _traced(options), deleted=True), options.get("timeout"))

    def publish_many(self, messages: Iterable[Outgoing], *, timeout: float | None = None) -> list[Published]:
        """Publish messages in their order, without waiting for each reply before the next one is sent.

        Args:
            messages: ``OutgoingMessage``s, or pairs of topic and data.
            timeout: seconds for each of them; the client's if not given.

        Raises:
            BadTopic, BadCommand: one of them can't be published; none was.
            PartlyPublished: some were not published; it has all the results.
        """
        return self.call(partial(self._client.publish_many, list(messages), timeout=timeout))

    def ping(self, *, timeout: float | None = None) -> float:
        """Send ``ping`` and wait for ``pong``; returns the round trip in seconds."""
        return self.call(partial(self._client.ping, timeout=timeout))

    def renew(self, *, timeout: float | None = None) -> None:
        """Present a token of the token function now, and wait until the gateway has taken it."""
        self.call(partial(self._client.renew, timeout=timeout))

    @overload
    def subscribe(
        self, topic_filter: str, *, gaps: Literal[False] = False, **options: Unpack[SubscribeOptions]
    ) -> SyncSubscription[Message]: ...
    @overload
    def subscribe(
        self, topic_filter: str, *, gaps: Literal[True], **options: Unpack[SubscribeOptions]
    ) -> SyncSubscription[Message | Gap]: ...
    @overload
    def subscribe(
        self,
        topic_filter: str,
        *,
        model: type[Model],
        gaps: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> SyncSubscription[TypedMessage[Model]]: ...
    @overload
    def subscribe(
        self,
        topic_filter: str,
        *,
        model: type[Model],
        gaps: Literal[True],
        **options: Unpack[SubscribeOptions],
    ) -> SyncSubscription[TypedMessage[Model] | Gap]: ...
    def subscribe(self, topic_filter: str, **options: Any) -> SyncSubscription[Any]:
        """The messages that match, as ``Client.subscribe`` gives them; functions are called in its thread."""
        return SyncSubscription(self, self._client.subscribe(topic_filter, **options))

    def call(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Have ``function`` called in the client's event loop, and wait for its result.

        Raises:
            ClientClosed: the client is not open, or was opened by the process that this one was forked from.
        """
        if self._portal is None:
            raise ClientClosed("the client is not open; use it inside 'with'")
        if self._process != os.getpid():
            raise ClientClosed(
                "the client was opened before this process was forked; open one in each process"
            )
        try:
            return self._portal.call(function)
        except RuntimeError:
            if self._portal is None:  # closed by another thread just now
                raise ClientClosed("the client is closed") from None
            raise

    def _publish(self, message: OutgoingMessage, timeout: float | None) -> Published:
        try:
            (published,) = self.publish_many([message], timeout=timeout)
        except PartlyPublished as error:
            raise error.failures[0] from None
        return published

    @property
    def closed(self) -> bool:
        """Whether its ``with`` is over."""
        return self._portal is None and self._process != 0

    def _closing(self) -> None:
        self._portal = None


class SyncSubscription(Generic[Item_co]):
    """A subscription of a ``SyncClient``: to loop over, or to be held with ``with``.

    Attributes:
        filter: the topic filter.
    """

    def __init__(self, client: SyncClient, subscription: ClientSubscription[Item_co]) -> None:
        self.filter = subscription.filter
        self._client = client
        self._subscription = subscription

    @property
    def positions(self) -> dict[str, PositionFields]:
        """As ``Subscription.positions``."""
        return self._subscription.positions

    @property
    def caught_up(self) -> bool:
        """As ``Subscription.caught_up``."""
        return self._subscription.caught_up

    def __enter__(self) -> Self:
        self._client.call(self._subscription.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._client.closed:
            self._client.call(partial(self._subscription.__aexit__, kind, error, None))

    def __iter__(self) -> Iterator[Item_co]:
        """Subscribed while the loop runs, if it isn't by ``with``."""
        with ExitStack() as stack:
            if not self._subscription.held:
                stack.enter_context(self)
            while True:
                try:
                    item = self._client.call(self._subscription.__anext__)
                except StopAsyncIteration:
                    return
                except ClientClosed:
                    if self._client.closed:
                        return
                    raise
                yield item

    def receive(self, timeout: float | None = None) -> Item_co:
        """Wait for the next item, inside ``with`` only.

        Args:
            timeout: seconds; None: for as long as it takes.

        Raises:
            TimeoutError: none came; none is lost by that.
            ClientClosed: there will be none.
        """

        async def receive() -> Item_co:
            with anyio.fail_after(timeout):
                return await anext(self._subscription)

        try:
            return self._client.call(receive)
        except StopAsyncIteration:
            raise ClientClosed("the client is closed") from None


def _awaitable(function: Callable[[], str]) -> Callable[[], Awaitable[str]]:
    async def token() -> str:
        return await to_thread.run_sync(function)

    return token


def _later(function: Callable[[], Result]) -> Callable[[], Awaitable[Result]]:
    async def call() -> Result:
        return function()

    return call


def _traced(options: PublishOptions | DeleteOptions) -> dict[str, Any]:
    """The caller's trace: that of the client's thread is another one."""
    return {**options, "headers": with_trace_context(options.get("headers"))}
