"""Reads of the store for those who are behind: shared, bounded, and no stream keeps another from its turn."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.catchup.page_choice import PageRequest
from gateway.core.streams.configuration import Bounds, StreamConfiguration
from gateway.core.streams.pages import Page
from gateway.core.streams.stream import FollowedStream
from gateway.engine.following.page_fetches import Fetch, PageFetches
from gateway.errors import StreamUnavailable
from gateway.supervision import Background
from tests.unit.engine.cluster_world import now, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 0.01


class Client:
    """A reader, as far as it waits for pages, and what it is parked as."""

    def __init__(self) -> None:
        self.reader = self
        self.ended = False
        self.pages: list[Page] = []


class World:
    """A store that takes a while and fails as often as it should, and readers that take what comes.

    Attributes:
        failures: by stream, how many reads will fail.
        asked: when which stream was asked from which offset on.
        most: reads at once, at most.
        wait: readers keep their page until a test lets go of it.
    """

    def __init__(self, reads: int = 2, *, wait: bool = False) -> None:
        self.background = Background()
        self.fetches = PageFetches(self, self.background, reads=reads, came=self.came)  # type: ignore[arg-type]
        self.streams = {name: FollowedStream(StreamConfiguration(name, f"{name}/#")) for name in "abc"}
        self.failures: dict[str, float] = {}
        self.error: Exception = StreamUnavailable("away")
        self.asked: list[tuple[float, str, int]] = []
        self.running = self.most = 0
        self.wait = wait
        self.kept: list[tuple[Any, Fetch]] = []

    async def read(self, stream: str, after: int, *, messages: int, size: int) -> Page:
        self.asked.append((now(), stream, after))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(SECONDS)
        self.running -= 1
        if self.failures.get(stream, 0) > 0:
            self.failures[stream] -= 1
            raise self.error
        return Page(Bounds("e", 1, 100), [], after)

    def came(self, fetch: Fetch) -> None:
        for reader in list(fetch.readers):
            reader.pages.append(fetch.page)  # type: ignore[attr-defined]  # a Client
            taken = self.fetches.taken(reader)
            assert taken is fetch
            self.kept.append((reader, fetch))
        if not self.wait:
            self.let_go()

    def let_go(self) -> None:
        kept, self.kept = self.kept, []
        for reader, fetch in kept:
            self.fetches.leave(reader, fetch)

    def ask(self, stream: str, after: int, client: Client | None = None) -> Client:
        client = client or Client()
        self.fetches.ask(client, PageRequest(self.streams[stream], "e", after))  # type: ignore[arg-type]
        return client

    def asked_of(self, stream: str) -> list[float]:
        return [at for at, name, _ in self.asked if name == stream]


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    made = World(**options)
    parent = asyncio.create_task(made.background.run())
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        parent.cancel()
        await asyncio.wait([parent])


def test_readers_at_one_place_share_one_read() -> None:
    async def main() -> None:
        async with world() as here:
            clients = [here.ask("a", 0) for _ in range(50)]
            await asyncio.sleep(1)
            assert len(here.asked) == 1
            assert all(each.pages == clients[0].pages != [] for each in clients)
            assert len({id(each.pages[0]) for each in clients}) == 1
            assert (here.fetches.read, here.fetches.failed, len(here.fetches)) == (1, 0, 0)

    run(main())


def test_who_comes_while_a_page_is_there_is_told_so() -> None:
    async def main() -> None:
        async with world(wait=True) as here:
            here.ask("a", 0)
            await asyncio.sleep(1)
            late = Client()
            request = PageRequest(here.streams["a"], "e", 0)
            assert here.fetches.ask(late, request)  # type: ignore[arg-type]
            fetch = here.fetches.taken(late)  # type: ignore[arg-type]
            assert fetch is not None
            assert fetch.page is not None
            assert not here.fetches.leave(late, fetch)  # type: ignore[arg-type]
            here.let_go()
            assert len(here.fetches) == 0
            assert here.fetches.taken(late) is None  # type: ignore[arg-type]

    run(main())


def test_a_page_counts_until_its_last_reader_has_had_it() -> None:
    async def main() -> None:
        async with world(reads=2, wait=True) as here:
            for after in range(5):
                here.ask("a", after)
            await asyncio.sleep(1)
            assert len(here.asked) == 2, "what is in memory is bounded, not only what is under way"
            here.let_go()
            await asyncio.sleep(1)
            assert len(here.asked) == 4

    run(main())


def test_a_stream_that_can_not_be_read_costs_the_others_nothing() -> None:
    async def main() -> None:
        async with world(reads=2) as here:
            here.failures["a"] = float("inf")
            stuck = [here.ask("a", after) for after in range(20)]
            await asyncio.sleep(1)
            clients = [here.ask("b", after) for after in range(20)]
            begun = now()
            # Ten rounds of two, and some more for those in which the other stream was asked whether it works.
            await asyncio.sleep(20 * SECONDS)
            assert all(each.pages for each in clients)
            await asyncio.sleep(60)
            times = here.asked_of("a")
            later = [at for at in times if at > begun]
            assert all(other - one >= SECONDS for one, other in pairwise(later)), "one by one"
            assert len(later) < 300
            assert not any(each.pages for each in stuck)

    run(main())


def test_a_stream_that_can_be_read_again_is_read_for_all_who_wait() -> None:
    async def main() -> None:
        async with world() as here:
            here.failures["a"] = 7
            clients = [here.ask("a", after) for after in range(20)]
            await asyncio.sleep(30)
            assert all(len(each.pages) == 1 for each in clients)
            assert (here.fetches.failed, here.fetches.read, len(here.fetches)) == (7, 20, 0)

    run(main())


def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    async def main() -> None:
        async with world() as here:
            here.failures["a"] = float("inf")
            clients = [here.ask("a", after) for after in range(5)]
            await asyncio.sleep(5)
            for each in clients:
                each.ended = True
            await asyncio.sleep(5)
            asked = len(here.asked)
            await asyncio.sleep(60)
            assert (len(here.asked), len(here.fetches)) == (asked, 0)
            here.failures.clear()
            again = here.ask("a", 9)
            await asyncio.sleep(1)
            assert again.pages, "the stream is as good as any"

    run(main())


def test_a_defect_is_told_and_tried_again() -> None:
    async def main() -> None:
        async with world() as here:
            here.failures["a"], here.error = 1, ZeroDivisionError()
            client = here.ask("a", 0)
            await asyncio.sleep(5)
            assert client.pages
            assert here.background.supervision.statistics() == {"catch_up": 1}

    run(main())


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.floats(0, 0.5)), max_size=25),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 4)),
    st.integers(1, 3),
)
def test_everybody_is_served_in_the_end_and_reads_are_bounded(
    asks: list[tuple[str, int, float]], failures: dict[str, int], reads: int
) -> None:
    async def main() -> None:
        async with world(reads=reads) as here:
            here.failures.update(failures)
            clients = []
            for stream, after, pause in asks:
                clients.append(here.ask(stream, after))
                await asyncio.sleep(pause)
            await asyncio.sleep(60)
            assert all(len(each.pages) == 1 for each in clients)
            assert len(here.fetches) == 0
            # A stream that failed is asked beside the others, one question at a time.
            assert here.most <= reads + len(failures)

    run(main())
