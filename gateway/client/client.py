"""The client: one connection to a gateway, kept up, with everything that uses it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import anyio

from gateway.client.address import websocket_address
from gateway.client.consumer import ClientConsumer, GroupConsuming
from gateway.client.dialler import Dialler, Token
from gateway.client.ending import Ending
from gateway.client.errors import ClientClosed
from gateway.client.link import Link
from gateway.client.memberships import Memberships
from gateway.client.models import Model, TypedMessage, typed_by
from gateway.client.outgoing import all_published, publish_pipelined
from gateway.client.positions import SubscriptionStart, parse_positions, parse_start
from gateway.client.publishing import ANY_SIZE, DeleteOptions, Publishing, PublishOptions
from gateway.client.read_gate import ReadGate
from gateway.client.routes import Routes
from gateway.client.state import ClientState
from gateway.client.subscription import ClientSubscription, SubscribeOptions
from gateway.client.time_limit import time_limit
from gateway.core.messages.commands import Overflow, Ping
from gateway.core.timing.backoff import Backoff
from gateway.core.topics.grammar import parse_filter

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from gateway.client.body import Data
    from gateway.client.message import Message
    from gateway.client.outgoing import Outgoing
    from gateway.core.messages.events import Gap, Published, Welcome


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """A snapshot of a client.

    Attributes:
        connects: connections so far.
        messages: messages received, each counted once however many subscriptions it is for.
        gaps: gaps that the gateway told of.
        filters: filters subscribed to now.
        buffered: messages that wait for their loops.
        dropped: messages that the present subscriptions had to drop by themselves.
    """

    connects: int
    messages: int
    gaps: int
    filters: int
    buffered: int
    dropped: int


class Client:
    """A connection to a gateway that is kept up: used with ``async with``, on asyncio, in one event loop.

    Attributes:
        address: the WebSocket URL in use.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        retry_first: bool = False,
        backoff: Backoff | None = None,
        frame_bytes: int = 16 * 2**20,
        ping_interval: float = 20.0,
        ping_timeout: float = 20.0,
    ) -> None:
        """Make a client; nothing is connected before ``async with``.

        Args:
            url: the gateway's HTTP address, or that of its WebSocket.
            token: a bearer token, or an async callable that returns a fresh one.
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
        self.address = websocket_address(url)
        self._timeout = timeout
        self._retry_first = retry_first
        self._valve = ReadGate()
        self._routes = Routes()
        memberships = Memberships()
        dialler = Dialler(self.address, token, tls, open_seconds=timeout, frame_bytes=frame_bytes)
        self._link = Link(
            dialler,
            self._routes,
            memberships,
            self._valve,
            backoff=backoff or Backoff(),
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
        )
        self._publishing = Publishing(self._link, timeout)
        self._consuming = GroupConsuming(self._link, memberships, timeout)
        self._tasks: TaskGroup | None = None

    @property
    def welcome(self) -> Welcome | None:
        """What the gateway said of itself on the present connection; None while there is none."""
        connection = self._link.current
        return None if connection is None else connection.welcome

    def statistics(self) -> ClientStatistics:
        """A snapshot."""
        mailboxes = list(self._routes.mailboxes())
        return ClientStatistics(
            connects=self._link.connects,
            messages=self._link.messages,
            gaps=self._link.gaps,
            filters=len(self._routes),
            buffered=sum(len(mailbox) for mailbox in mailboxes),
            dropped=sum(mailbox.dropped for mailbox in mailboxes),
        )

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            GatewayError: no connection; ``ConnectFailed`` where nothing answered, else the gateway's refusal.
        """
        if self._tasks is not None or self._link.failure is not None:
            raise ClientClosed("a client is used in one 'async with' only; make a new one")
        opened = await self._link.dial()
        if isinstance(opened, Ending) and not (self._retry_first and opened.reconnect):
            self._link.close(opened.error)
            raise opened.error
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._link.run, opened)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = self._tasks
        if tasks is not None:
            tasks.cancel_scope.cancel()
            # Given no exception: what the block raised goes on as it is, not inside an exception group.
            await tasks.__aexit__(None, None, None)

    @overload
    def subscribe(
        self, topic_filter: str, *, gaps: Literal[False] = False, **options: Unpack[SubscribeOptions]
    ) -> ClientSubscription[Message]: ...
    @overload
    def subscribe(
        self, topic_filter: str, *, gaps: Literal[True], **options: Unpack[SubscribeOptions]
    ) -> ClientSubscription[Message | Gap]: ...
    @overload
    def subscribe(
        self,
        topic_filter: str,
        *,
        model: type[Model],
        gaps: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> ClientSubscription[TypedMessage[Model]]: ...
    @overload
    def subscribe(
        self,
        topic_filter: str,
        *,
        model: type[Model],
        gaps: Literal[True],
        **options: Unpack[SubscribeOptions],
    ) -> ClientSubscription[TypedMessage[Model] | Gap]: ...
    def subscribe(
        self,
        topic_filter: str,
        *,
        gaps: bool = False,
        model: type[Any] | None = None,
        **options: Unpack[SubscribeOptions],
    ) -> ClientSubscription[Any]:
        """The messages that match; subscribed when iterated over, or entered with ``async with``.

        Args:
            topic_filter: may hold ``+`` for one level and end with ``#`` for the rest.
            gaps: yield ``Gap``s too, each where the messages are missing.
            model: what ``data`` is made an instance of: a model of pydantic, a dataclass, a ``TypedDict``,
                or another type that msgspec converts to. What comes are ``TypedMessage``s then.
            options: see ``SubscribeOptions``.

        Raises:
            BadFilter: it breaks the grammar. While iterating, the gateway's other refusals; ``Conflict``
                where two subscriptions have one filter and one of them asks for history; ``InvalidData``
                for a message that the model does not fit, after which ``anext`` goes on with the next one.
            ValueError: an overflow policy that doesn't exist, a ``start`` or ``resume`` that is not valid.
        """
        buffer = options.get("buffer", 1000)
        reserve = options.get("reserve")
        timeout = options.get("timeout")
        start, resume = options.get("start", "new"), options.get("resume")
        return ClientSubscription(
            self._link,
            self._routes,
            self._valve,
            parse_filter(topic_filter, ANY_SIZE),
            overflow=Overflow(options.get("overflow", Overflow.SPILL)),
            beginning=SubscriptionStart(parse_start(start), parse_positions(resume)),
            gaps=gaps,
            on_gap=options.get("on_gap"),
            on_caught_up=options.get("on_caught_up"),
            typed=None if model is None else typed_by(model),
            on_invalid=options.get("on_invalid"),
            buffer=buffer,
            reserve=9 * buffer if reserve is None else reserve,
            timeout=self._timeout if timeout is None else timeout,
        )

    def state(
        self, topic_filter: str, *, timeout: float | None = None, max_topics: int = 100_000
    ) -> ClientState:
        """The last messages of all topics that match, as a mapping that follows: used with ``async with``.

        Args:
            topic_filter: may hold ``+`` for one level and end with ``#`` for the rest. What has no last
                values begins empty.
            timeout: seconds to wait on entering until all of it is there; None: for as long as it takes.
            max_topics: where there are more, it ends with ``TooMany``.

        Raises:
            BadFilter: it breaks the grammar.
            ClientClosed: the client is not open.
            ValueError: ``max_topics`` is below 1.
        """
        self._check_open()
        return ClientState(
            self._link,
            self._routes,
            parse_filter(topic_filter, ANY_SIZE),
            max_topics=max_topics,
            timeout=math.inf if timeout is None else timeout,
            leave_timeout=self._timeout,
        )

    def consume(
        self, stream: str, *, group: str, credit: int = 32, topic_filter: str | None = None
    ) -> ClientConsumer:
        """The deliveries of a group; a member of it when iterated over, or entered with ``async with``.

        A client is a member of a group once.

        Args:
            stream: its name.
            group: one of the stream's groups.
            credit: unanswered deliveries at most, those that wait for the loop included; up to 10,000.
            topic_filter: what the group works off, to be sure of it: if it is another one, ``Conflict``.

        Raises:
            ClientClosed: the client is not open.
            ValueError: the credit is out of bounds. While iterating: ``NotFound``, ``NotPermitted`` and the
                gateway's other refusals, and ``Conflict`` where this client is a member already.
        """
        self._check_open()
        assert self._tasks is not None, "it is open"
        self._consuming.begin(self._tasks)
        return ClientConsumer(self._consuming, (stream, group), topic_filter=topic_filter, credit=credit)

    @overload
    async def publish(
        self,
        topic: str,
        data: Data,
        *,
        acknowledge: Literal[True] = True,
        **options: Unpack[PublishOptions],
    ) -> Published: ...
    @overload
    async def publish(
        self,
        topic: str,
        data: Data,
        *,
        acknowledge: Literal[False],
        **options: Unpack[PublishOptions],
    ) -> None: ...
    async def publish(
        self, topic: str, data: Data, *, acknowledge: bool = True, **options: Unpack[PublishOptions]
    ) -> Published | None:
        """Publish a JSON value, text or bytes, and wait until the gateway has it.

        While there is no connection it waits for one. A publish that was under way when the connection broke
        is sent again only if it has an ``idempotency_key``: without one nobody could tell whether it is a
        second.

        Args:
            topic: without wildcards.
            data: bytes are sent as they are, a string for ``text/*`` as text, everything else as JSON: models
                of pydantic, dataclasses, UUIDs, Decimals, dates and times too.
            acknowledge: False: return as soon as it is written; a refusal is only logged.
            options: ``content_type``, ``headers``, ``id``, ``key``, ``idempotency_key``, ``delay`` and
                ``timeout``.

        Raises:
            GatewayError: ``BadTopic``, ``BadCommand``, ``TooLarge`` and the others: refused, not published.
                ``NotSent``: no connection in time, not published. ``NoAnswer`` (``ConnectionLost``,
                ``CommandTimeout``): nobody knows whether it was.
        """
        self._check_open()
        if acknowledge:
            return await self._publishing.acknowledged(topic, data, **options)
        await self._publishing.written(topic, data, **options)
        return None

    async def publish_many(
        self,
        messages: Iterable[Outgoing],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as publish has it
    ) -> list[Published]:
        """Publish messages in their order, without waiting for each reply before the next one is sent.

        Those without an idempotency key get one. What is refused for now is sent again, until its time is
        over.

        Args:
            messages: ``OutgoingMessage``s, or pairs of topic and data.
            timeout: seconds for each of them; the client's if not given.

        Raises:
            BadTopic, BadCommand: one of them can't be published; none was.
            PartlyPublished: some were not published; it has all the results.
        """
        self._check_open()
        return all_published(await publish_pipelined(self._publishing, messages, timeout))

    async def delete(self, topic: str, **options: Unpack[DeleteOptions]) -> Published:
        """Publish that ``topic`` has no value any more, and wait until the gateway has it.

        Subscribers get it as a message that is ``deleted``; a stream that keeps last values forgets the
        topic's. With connections it deals as ``publish`` does.

        Args:
            topic: without wildcards.
            options: ``headers``, ``id``, ``key``, ``idempotency_key``, ``timeout``.

        Raises:
            GatewayError: as ``publish``.
        """
        self._check_open()
        return await self._publishing.deleted(topic, **options)

    async def ping(self, *, timeout: float | None = None) -> float:  # noqa: ASYNC109 - as publish has it
        """Send ``ping`` and wait for ``pong``; returns the round trip in seconds."""
        self._check_open()
        with time_limit(self._timeout if timeout is None else timeout, "ping", sent=False) as limit:
            connection = await self._link.connected()
            limit.sent = True
            began = anyio.current_time()
            await connection.request(lambda ref: Ping(ref=ref))
            return anyio.current_time() - began

    async def renew(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as publish has it
        """Present a token of the token function now, and wait until the gateway has taken it.

        Raises:
            GatewayError: it was refused, and the old one counts on; or there is none for now.
            TypeError: the client's token is no function.
        """
        self._check_open()
        with time_limit(self._timeout if timeout is None else timeout, "renew"):
            await self._link.connected()
            if not await self._link.renewed():
                raise TypeError("there is no other token: give token= an async function")

    def _check_open(self) -> None:
        self._link.check_usable()
        if self._tasks is None:
            raise ClientClosed("the client is not open; use it inside 'async with'")
