"""What is heard in process: a client's subscriptions and states, each with a client of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import TracebackType

    from gateway.client import Client
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
