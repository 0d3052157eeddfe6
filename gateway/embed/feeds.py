"""What is heard in process: a client's subscriptions and states, each with a client of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar, Unpack, overload

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import TracebackType

    from gateway.client import Client, Gap, Message, State
    from gateway.client.delivery import ClientDelivery
    from gateway.client.models import Model, TypedMessage
    from gateway.client.subscription import ClientSubscription, SubscribeOptions
    from gateway.embed.in_process import InProcessClient


class Feed(Protocol):
    """What a client gives: a subscription, a state, the deliveries of a group."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


FeedType = TypeVar("FeedType", bound=Feed)
Item_co = TypeVar("Item_co", covariant=True)


class InProcessFeed(Generic[FeedType]):
    """A feed with a client of its own, used with ``async with``: a slow reader holds up no other."""

    def __init__(
        self, make_client: Callable[[], InProcessClient], make: Callable[[Client], FeedType]
    ) -> None:
        self._make_client = make_client
        self._make = make
        self._entered: tuple[InProcessClient, FeedType] | None = None

    async def __aenter__(self) -> FeedType:
        client = await self._make_client().__aenter__()
        try:
            feed = self._make(client)
            entered = await feed.__aenter__()
        except BaseException:
            client.close()
            raise
        self._entered = (client, feed)
        return entered

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered is not None:
            client, feed = self._entered
            self._entered = None
            try:
                await feed.__aexit__(kind, error, trace)
            finally:
                client.close()


class IterableFeed(Feed, Protocol[Item_co]):
    """A feed to iterate over."""

    def __aiter__(self) -> AsyncIterator[Item_co]: ...


class InProcessItems(InProcessFeed["IterableFeed[Item_co]"], Generic[Item_co]):
    """The same, to be iterated over by itself too: ``async for message in gateway.subscribe("a/#")``."""

    async def __aiter__(self) -> AsyncGenerator[Item_co, None]:
        client = await self._make_client().__aenter__()
        try:
            async for item in self._make(client):
                yield item
        finally:
            # Nothing is awaited here: this also runs in a generator that is thrown away.
            client.close()


class Feeds:
    """What an application hears of its own gateway: the part of ``Gateway`` that is for that."""

    def _make_client(self) -> Callable[[], InProcessClient]:
        raise NotImplementedError

    @overload
    def subscribe(
        self, topic_filter: str, *, gaps: Literal[False] = False, **options: Unpack[SubscribeOptions]
    ) -> InProcessItems[Message]: ...
    @overload
    def subscribe(
        self, topic_filter: str, *, gaps: Literal[True], **options: Unpack[SubscribeOptions]
    ) -> InProcessItems[Message | Gap]: ...
    @overload
    def subscribe(
        self,
        topic_filter: str,
        *,
        model: type[Model],
        gaps: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> InProcessItems[TypedMessage[Model]]: ...
    @overload
    def subscribe(
        self,
        topic_filter: str,
        *,
        model: type[Model],
        gaps: Literal[True],
        **options: Unpack[SubscribeOptions],
    ) -> InProcessItems[TypedMessage[Model] | Gap]: ...
    def subscribe(
        self,
        topic_filter: str,
        *,
        gaps: bool = False,
        model: type[Any] | None = None,
        **options: Unpack[SubscribeOptions],
    ) -> InProcessItems[Any]:
        """The messages that match, for ``async for``, or ``async with`` and then ``async for``.

        A loop that is too slow is bounded as any client is, by ``limits`` and the overflow policy, and holds
        up nobody else. Loops end with the gateway.

        Args:
            topic_filter: may hold ``+`` for one level and end with ``#`` for the rest.
            gaps: yield ``Gap``s too, each where the messages are missing.
            model: what ``data`` is made an instance of, as ``gateway.client.Client.subscribe`` has it.
            options: as ``gateway.client.Client.subscribe`` takes them.

        Raises:
            NotRunning: the gateway isn't running.
            WrongEventLoop: this is not the event loop that it runs in.
        """

        def subscribed(client: Client) -> ClientSubscription[Any]:
            # By kind, since no signature has both kinds at once.
            if model is None:
                made = partial(client.subscribe, topic_filter)
            else:
                made = partial(client.subscribe, topic_filter, model=model)
            return made(gaps=True, **options) if gaps else made(**options)

        return InProcessItems(self._make_client(), subscribed)

    def state(
        self, topic_filter: str, *, timeout: float | None = None, max_topics: int = 100_000
    ) -> InProcessFeed[State]:
        """The last messages of all topics that match, as a mapping that follows: used with ``async with``.

        See ``gateway.client.Client.state``; raises as ``subscribe``.
        """
        return InProcessFeed(
            self._make_client(),
            lambda each: each.state(topic_filter, timeout=timeout, max_topics=max_topics),
        )

    def consume(
        self, stream: str, *, group: str, credit: int = 32, topic_filter: str | None = None
    ) -> InProcessItems[ClientDelivery]:
        """A group's deliveries: see ``gateway.client.Client.consume``; raises as ``subscribe``."""
        return InProcessItems(
            self._make_client(),
            lambda each: each.consume(stream, group=group, credit=credit, topic_filter=topic_filter),
        )
