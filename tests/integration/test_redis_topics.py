"""The index of topics in Redis: complete again whatever became of it, and whoever changed the log."""

from __future__ import annotations

import asyncio
import secrets
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.pages import PURGED, Hole
from gateway.core.streams.topic_keys import topic_key, topics_matching
from gateway.core.topics.grammar import matches
from gateway.errors import StreamUnavailable
from gateway.streams.redis.script_parts import HOLES, INDEX, script
from gateway.streams.redis.search_scripts import SEARCHING
from tests.integration.store_in_redis import running
from tests.integration.test_redis_rights import documented
from tests.patience import HANG_SECONDS
from tests.purging import purge
from tests.unit.core.streams.test_topic_keys import TOPICS, filters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.streams.base import SelectedPage
    from gateway.streams.redis.store import RedisStore
    from tests.redis_process import RunningRedis

watched = pytest.mark.usefixtures("no_task_left")

LOG, META, INDEX_KEY, HOLES_KEY, ORDER, VALUES = "log", "meta", "topics", "holes", "order", "values"
NAMES = ["s/a", "s/b", "s/a/x", "s/c"]
UNCHECKED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
FILTERS = ["s/a", "s/+", "s/a/#", "#", "s/d"]


@pytest.fixture
def client(module_redis_server: RunningRedis) -> Iterator[redis.Redis]:
    with redis.Redis(port=module_redis_server.port) as client:
        yield client


@pytest.fixture
def url(module_redis_server: RunningRedis) -> str:
    return module_redis_server.url


def key(prefix: str, name: str) -> str:
    return f"{{{prefix}:stream:s}}:{name}"


def streams(**options: Any) -> StreamConfiguration:
    return StreamConfiguration("s", "#", **options)


async def say(store: RedisStore, *topics: str) -> None:
    await asyncio.gather(*(store.append("s", Publication(each, each, 0, b"1")) for each in topics))


async def scanned(store: RedisStore, topic_filter: str) -> tuple[list[int | None], list[Hole]]:
    page = await store.read("s", 0, messages=10_000)
    return [each.offset for each in page.publications if matches(topic_filter, each.topic)], list(page.holes)


async def selected(store: RedisStore, topic_filter: str) -> tuple[list[int | None], list[Hole]]:
    """By the index, once it knows everything."""
    found: list[int | None] = []
    holes: list[Hole] = []
    after = 0
    while True:
        page = await patiently(store, topic_filter, after)
        found += [each.offset for each in page.publications]
        holes += page.holes
        if page.through == page.bounds.last:
            return found, holes
        assert page.through > after, "a page leads on"
        after = page.through


async def patiently(store: RedisStore, topic_filter: str, after: int) -> SelectedPage:
    async with asyncio.timeout(HANG_SECONDS):
        while (page := await store.select("s", [topic_filter], after, messages=900)) is None:  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)
    return page


def members(client: redis.Redis, prefix: str) -> int:
    """How many the index has beside what it says of itself."""
    return int(client.zcard(key(prefix, INDEX_KEY))) - 1  # type: ignore[arg-type]


@watched
async def test_a_log_of_before_is_indexed_in_the_background(
    client: redis.Redis, url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.streams")
    async with running(url, prefix, streams()) as store:
        for _ in range(4):
            await say(store, *NAMES * 100)
    client.delete(key(prefix, INDEX_KEY))
    async with running(url, prefix, streams()) as store:
        # What needs all of it waits for it, what doesn't is done without.
        assert [each.topic for each in (await store.topics("s", "#", after=None, limit=9)).topics] == [
            "s/a", "s/a/x", "s/b", "s/c",
        ]  # fmt: skip
        for each in FILTERS:
            found = await selected(store, each)
            assert found == await scanned(store, each)
        assert members(client, prefix) == 1600
    assert "indexing the topics of stream 's'" in caplog.text
    assert "the index of topics of stream 's' is complete" in caplog.text


@watched
async def test_an_index_that_nobody_builds_refuses_what_needs_all_of_it(
    client: redis.Redis, url: str, prefix: str
) -> None:
    async with running(url, prefix, streams()) as store:
        await say(store, *NAMES * 10)
    client.delete(key(prefix, INDEX_KEY))
    client.hset(key(prefix, META), "tending", f"other {10**15}")
    async with running(url, prefix, streams(), timeout=1.0) as store:
        client.hset(key(prefix, META), "tending", f"other {int(client.time()[0]) * 1000 + 50_000}")  # type: ignore[index]
        client.delete(key(prefix, INDEX_KEY))
        assert await store.select("s", ["s/a"], 0, messages=9) is None
        assert await store.before_newest("s", "s/a", 1) is None
        for call in (
            store.topics("s", "#", after=None, limit=9),
            store.newest_by_topic("s", "#", 1, 0, None, messages=9),
            purge(store, "s", "s/a"),
        ):
            with pytest.raises(StreamUnavailable, match="is being built"):
                await call
        # What is new is known at once.
        await say(store, "s/a", "s/b", "s/a")
        page = await store.select("s", ["s/a"], 40, messages=9)
        assert page is not None
        assert [each.offset for each in page.publications] == [41, 43]
        assert await store.before_newest("s", "s/a", 2) == 40
        assert await store.before_newest("s", "s/a", 3) is None


@watched
async def test_a_node_of_before_that_appends_and_trims_leaves_nothing_wrong(
    client: redis.Redis, url: str, prefix: str
) -> None:
    few = streams(max_messages=100)
    async with running(url, prefix, few) as store:
        await say(store, *NAMES * 25)
        for _ in range(3):
            before = client.dump(key(prefix, INDEX_KEY))
            await say(store, *NAMES[1:] * 10)
            assert isinstance(before, bytes)
            # As if the last ones had come from a node that knows no index.
            client.restore(key(prefix, INDEX_KEY), 0, before, replace=True)
            await say(store, "s/a")
            for each in FILTERS:
                assert await selected(store, each) == await scanned(store, each)
        await until_swept(client, prefix, 100)


async def until_swept(client: redis.Redis, prefix: str, wanted: int) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while members(client, prefix) != wanted:  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


@watched
async def test_what_somebody_removed_is_told_by_the_index_too(
    client: redis.Redis, url: str, prefix: str
) -> None:
    async with running(url, prefix, streams()) as store:
        await say(store, *NAMES * 10)
        assert await purge(store, "s", "s/c") == 10
        client.xdel(key(prefix, LOG), "6-0", "7-0", "39-0")
        assert await store.select("s", ["s/a"], 0, messages=9) is None, "nobody knows yet what is missing"
        for each in FILTERS:
            found, holes = await selected(store, each)
            assert (found, holes) == await scanned(store, each)
        assert Hole(6, 7) in holes
        assert Hole(8, 8, PURGED) in holes


@watched
async def test_another_log_gets_another_index(client: redis.Redis, url: str, prefix: str) -> None:
    kept = streams(max_messages=5, last_values=True)
    async with running(url, prefix, kept) as store:
        await say(store, *NAMES * 5)
        copies = {name: client.dump(key(prefix, name)) for name in (LOG, META)}
        await say(store, "s/x", "s/y", "s/y")
        await purge(store, "s", "s/x")
        for name, copy in copies.items():
            assert isinstance(copy, bytes)
            client.restore(key(prefix, name), 0, copy, replace=True)
        await say(store, "s/z")
        for each in FILTERS:
            assert await selected(store, each) == await scanned(store, each)
        async with asyncio.timeout(HANG_SECONDS):
            page = await store.topics("s", "#", after=None, limit=9)
        assert {each.topic for each in page.topics} <= {*NAMES, "s/z"}
        value = (await store.last_value("s", "s/y"))[1]
        assert value is None
        client.delete(key(prefix, LOG), key(prefix, META))
        await say(store, "s/new")
        assert await selected(store, "#") == ([1], [])
        assert [each.topic for each in (await store.topics("s", "#", after=None, limit=9)).topics] == [
            "s/new"
        ]
        page_ = await store.snapshot("s", "#", 0, None, messages=9)
        assert [each.topic for each in page_.publications] == ["s/new"]


@watched
async def test_last_values_of_a_log_that_kept_none_are_looked_up(url: str, prefix: str) -> None:
    async with running(url, prefix, streams()) as store:
        await say(store, *NAMES, *NAMES[:2])
        await store.append("s", Publication("s/b", "end", 0, None, deleted=True))
    kept = streams(last_values=True)
    async with running(url, prefix, kept) as store:
        page = await store.snapshot("s", "#", 0, None, messages=9)
        assert [(each.topic, each.offset) for each in page.publications] == [
            ("s/a/x", 3), ("s/c", 4), ("s/a", 5),
        ]  # fmt: skip
    # A node with another setting appends: what it knows nothing of is looked up again.
    async with running(url, prefix, streams()) as store:
        await say(store, "s/c", "s/b")
    async with running(url, prefix, kept) as store:
        page = await store.snapshot("s", "#", 0, None, messages=9)
        assert [(each.topic, each.offset) for each in page.publications] == [
            ("s/a/x", 3), ("s/a", 5), ("s/c", 8), ("s/b", 9),
        ]  # fmt: skip


@watched
async def test_values_that_a_node_without_them_trims_stay(url: str, prefix: str) -> None:
    kept = streams(last_values=True)
    async with running(url, prefix, kept) as store:
        await say(store, *NAMES)
    async with running(url, prefix, streams(max_messages=2)) as store:
        await say(store, "s/a", "s/a")
        assert (await store.bounds("s")).first == 5
    async with running(url, prefix, kept) as store:
        page = await store.snapshot("s", "#", 0, None, messages=9)
        assert [(each.topic, each.offset) for each in page.publications] == [
            ("s/b", 2), ("s/a/x", 3), ("s/c", 4), ("s/a", 6),
        ]  # fmt: skip
        assert (await store.last_value("s", "s/b"))[1] is not None


@watched
async def test_values_that_end_and_leave_the_log_by_a_node_without_them_are_gone(
    url: str, prefix: str
) -> None:
    kept = streams(last_values=True)
    async with running(url, prefix, kept) as store:
        await say(store, "s/a", "s/b", "s/c", "s/d")
    async with running(url, prefix, streams(max_messages=2)) as store:
        await say(store, "s/c")
        await store.append("s", Publication("s/b", "end", 0, None, deleted=True))
        await say(store, "s/c", "s/d")
        assert (await store.bounds("s")).first == 7
    async with running(url, prefix, kept) as store:
        for topic_filter in ("#", "s/+"):
            page = await store.snapshot("s", topic_filter, 0, None, messages=9)
            assert [(each.topic, each.offset) for each in page.publications] == [
                ("s/a", 1), ("s/c", 7), ("s/d", 8),
            ]  # fmt: skip
        assert (await store.last_value("s", "s/b"))[1] is None
        assert [each.topic for each in (await store.topics("s", "#", after=None, limit=9)).topics] == [
            "s/a", "s/c", "s/d",
        ]  # fmt: skip
        assert (await store.describe("s")).last_values == 3


@watched
async def test_what_is_trimmed_before_it_was_looked_up_is_a_last_value_all_the_same(
    url: str, prefix: str
) -> None:
    async with running(url, prefix, streams()) as store:
        await say(store, "s/a", "s/b", "s/c", "s/a")
        await store.append("s", Publication("s/b", "end", 0, None, deleted=True))
    async with running(url, prefix, streams(max_messages=2, last_values=True)) as store:
        await say(store, "s/d", "s/e")
        assert (await store.bounds("s")).first == 6
        page = await store.snapshot("s", "#", 0, None, messages=9)
        assert [(each.topic, each.offset) for each in page.publications] == [
            ("s/c", 3), ("s/a", 4), ("s/d", 6), ("s/e", 7),
        ]  # fmt: skip


@watched
async def test_the_documented_rights_are_enough_for_the_index(
    client: redis.Redis, url: str, prefix: str
) -> None:
    rules = [rule.replace("gateway:stream:", f"{prefix}:stream:") for rule in documented()]
    client.execute_command("ACL", "SETUSER", "some", "reset", *rules)
    client.execute_command("ACL", "LOG", "RESET")
    kept = streams(max_messages=6, last_values=True, last_values_max_topics=3, last_values_max_age=60)
    async with running(url.replace("//", "//some:PASSWORD@"), prefix, kept) as store:
        await say(store, *NAMES * 5)
        for forgotten in (INDEX_KEY, HOLES_KEY):
            client.delete(key(prefix, forgotten))
            await say(store, *NAMES)
            client.xdel(key(prefix, LOG), f"{(await store.bounds('s')).last}-0")
            await store.topics("s", "#", after=None, limit=9)
            await selected(store, "#")
            await store.snapshot("s", "#", 0, None, messages=9)
            await store.newest_by_topic("s", "#", 1, 0, None, messages=9)
            await purge(store, "s", "s/a")
        assert store.statistics().refused == 0
    assert client.execute_command("ACL", "LOG") == []
    client.execute_command("ACL", "DELUSER", "some")


SEARCH_ALL = script(
    HOLES,
    INDEX,
    SEARCHING,
    """
local found, target = {}, ARGV[7]
repeat
  local budget = tonumber(ARGV[8])
  target = search(ARGV[6], target, budget, function(key)
    found[#found + 1] = key
    return 0
  end)
until target == ''
return found
""",
)


@settings(max_examples=150, deadline=None, suppress_health_check=UNCHECKED)
@given(topics=st.sets(TOPICS, min_size=1, max_size=30), topic_filter=filters(), budget=st.integers(1, 9))
def test_the_search_in_redis_finds_what_the_search_here_does(
    client: redis.Redis, topics: set[str], topic_filter: str, budget: int
) -> None:
    ordered = sorted(map(topic_key, topics))

    def seek(wanted: bytes) -> bytes | None:
        place = bisect_left(ordered, wanted)
        return ordered[place] if place < len(ordered) else None

    index = key("search" + secrets.token_hex(4), INDEX_KEY)
    client.zadd(
        index, {each + b"\0\0" + offset.to_bytes(8, "big"): 0 for each in ordered for offset in (1, 300)}
    )
    levels = topic_filter.split("/")
    literal = next((at for at, level in enumerate(levels) if level in {"+", "#"}), len(levels))
    keys = [
        index.replace(INDEX_KEY, name) for name in (LOG, META, "channel", INDEX_KEY, HOLES_KEY, ORDER, VALUES)
    ]
    start = topic_key("/".join(levels[:literal]))
    found = client.eval(
        SEARCH_ALL.text, len(keys), *keys, "", "0", "", "n", "PUBLISH", topic_filter, start, str(budget)
    )
    assert found == [topic_key(each) for each in topics_matching(topic_filter, seek) if each is not None]
    client.delete(*keys)


# Whatever happens, in whatever order

STEPS = st.one_of(
    st.tuples(st.just("say"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=12)),
    st.tuples(st.just("end"), st.sampled_from(NAMES)),
    st.tuples(st.just("purge"), st.sampled_from(FILTERS), st.none() | st.integers(1, 60)),
    st.tuples(st.just("remove"), st.integers(1, 60)),
    st.tuples(st.just("old node"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=12)),
    st.tuples(st.just("forget"), st.just(INDEX_KEY)),
    st.tuples(st.just("again"), st.booleans()),
)


class Life:
    """A stream and what is done to it."""

    def __init__(self, client: redis.Redis, url: str, *, values: bool) -> None:
        self.client = client
        self.url = url
        self.prefix = "life" + secrets.token_hex(4)
        self.configuration = streams(max_messages=25, last_values=values)

    async def live(self, steps: list[tuple[Any, ...]]) -> None:
        while steps:
            async with running(self.url, self.prefix, self.configuration) as store:
                while steps:
                    name, *arguments = steps.pop(0)
                    if name == "again":
                        break
                    await self.do(store, name, *arguments)
                await self.check(store)

    async def do(self, store: RedisStore, name: str, *arguments: Any) -> None:
        client, index = self.client, key(self.prefix, INDEX_KEY)
        if name == "say":
            await say(store, *arguments[0])
        elif name == "end":
            await store.append("s", Publication(arguments[0], "end", 0, None, deleted=True))
        elif name == "purge":
            await purge(store, "s", *arguments)
        elif name == "remove":
            client.xdel(key(self.prefix, LOG), f"{arguments[0]}-0")
        elif name == "forget":
            client.delete(key(self.prefix, arguments[0]))
        elif (copy := client.dump(index)) is not None:
            await say(store, *arguments[0])
            assert isinstance(copy, bytes)
            client.restore(index, 0, copy, replace=True)

    async def check(self, store: RedisStore) -> None:
        """What the index tells is what a scan tells, and nothing more is in it."""
        async with asyncio.timeout(HANG_SECONDS):
            summaries = (await store.topics("s", "#", after=None, limit=99)).topics
        for each in FILTERS:
            found, holes = await scanned(store, each)
            # What another hand removed may have been forgotten to have been purged.
            assert await selected(store, each) == (found, holes), each
            newest = await store.before_newest("s", each, 3)
            assert newest is not None
            assert [offset for offset in found if offset is not None and offset > newest] == found[-3:]
        page = await store.read("s", 0, messages=1000)
        own = {name: [each for each in page.publications if each.topic == name] for name in NAMES}
        told = {each.topic: each for each in summaries}
        for name, said in own.items():
            assert name in told or not said
            if said:
                assert (told[name].first, told[name].last) == (said[0].offset, said[-1].offset)
            value = (await store.last_value("s", name))[1]
            if said and self.configuration.last_values:
                expected = None if said[-1].deleted else said[-1].offset
                assert (None if value is None else value.offset) == expected
            assert (value is not None) == (name in told and told[name].last_value)
        kept = {each.topic for each in summaries if each.last < page.bounds.first}
        await until_swept(self.client, self.prefix, len(page.publications) + len(kept))


@settings(max_examples=60, deadline=None, suppress_health_check=UNCHECKED)
@given(steps=st.lists(STEPS, min_size=1, max_size=12), values=st.booleans())
def test_whatever_happens_the_index_tells_what_a_scan_does(
    client: redis.Redis, url: str, steps: list[tuple[Any, ...]], values: bool
) -> None:
    asyncio.run(Life(client, url, values=values).live(list(steps)))
