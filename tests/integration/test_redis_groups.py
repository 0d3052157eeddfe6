"""Groups in Redis: members on several nodes share one, and nothing is lost, stuck or given twice.

Spec: docs/queues.md. What every step does is held to the core by ``test_redis_groups_model.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.commands import Start, StartKind
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import NotFound, StoreFull
from gateway.streams.redis import groups
from gateway.streams.redis.group_take_script import TAKE
from gateway.streams.redis.script import Script
from tests.integration.store_in_redis import running, until
from tests.integration.test_redis_rights import documented
from tests.patience import HANG_SECONDS
from tests.purging import purge
from tests.redis_process import redis_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gateway.streams.groups.base import LeasedPublication
    from gateway.streams.redis.store import RedisStore
    from tests.redis_process import RunningRedis

watched = pytest.mark.usefixtures("no_task_left")


@pytest.fixture
def url(module_redis_server: RunningRedis) -> str:
    return module_redis_server.url


@pytest.fixture
def client(module_redis_server: RunningRedis) -> Iterator[redis.Redis]:
    with redis.Redis(port=module_redis_server.port) as client:
        yield client


@asynccontextmanager
async def nodes(
    url: str, prefix: str, group: GroupConfiguration, **stream: Any
) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """Two nodes with a group."""
    streams = StreamConfiguration("s", "#", **stream)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(url, prefix, streams))
        other = await stack.enter_async_context(running(url, prefix, streams))
        assert await one.groups.put("s", group)
        assert not await other.groups.put("s", group)
        yield one, other


async def say(store: RedisStore, *topics: str, **fields: Any) -> None:
    """Publish on these topics, one after the other."""
    for each in topics:
        await store.append("s", Publication(each, each, 0, b"1", **fields))


async def take(store: RedisStore, count: int = 1, member: str = "a") -> list[LeasedPublication]:
    return list((await store.groups.take("s", "g", [member] * count)).deliveries)


async def ack(store: RedisStore, *deliveries: LeasedPublication) -> list[bool]:
    return list(await store.groups.acknowledge("s", "g", [each.lease for each in deliveries]))


def offsets(deliveries: list[LeasedPublication]) -> list[int]:
    return [each.lease.offset for each in deliveries]


@watched
async def test_members_on_two_nodes_get_each_publication_once(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g")) as (one, other):
        await say(one, *(f"s/{number}" for number in range(50)))
        taken = await asyncio.gather(*(take(each, 5, name) for name in "ab" for each in (one, other) * 3))
        given = [each for some in taken for each in some]
        assert sorted(offsets(given)) == list(range(1, 51))
        assert {each.attempt for each in given} == {1}
        # A token is good on every node, once.
        assert await ack(other, *given) == [True] * 50
        assert await ack(one, *given) == [False] * 50
        assert (await one.groups.figures("s", "g")).depth == 0


@watched
async def test_nothing_is_kept_of_answers_for_groups_that_are_not_there(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g")) as (one, _):
        await say(one, "s/a")
        (given,) = await take(one)
        for name in ("x", "y", "z"):
            with pytest.raises(NotFound):
                await one.groups.acknowledge("s", name, [given.lease])
        assert await ack(one, given) == [True]
        assert one.groups._acknowledging == {}


@watched
@pytest.mark.parametrize(
    "what", ["append", "nack", "give back", "release", "lose", "room", "line", "redrive"]
)
async def test_what_happens_on_one_node_wakes_members_on_the_other(
    url: str, prefix: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks by himself: only what is announced wakes.
    monkeypatch.setattr("gateway.streams.redis.group_watching.LOOK_SECONDS", 1000.0)
    group = GroupConfiguration("g", backoff=(), ordered_by_key=True, max_in_flight=1)
    async with nodes(url, prefix, group) as (one, other):
        woken = asyncio.Event()
        end = other.groups.watch("s", "g", woken.set)
        await until(lambda: other.groups.heard("s", "g"))
        if what != "append":
            await say(one, "s/a", "s/a", key="k")
            (given,) = await take(one)
            if what == "redrive":
                assert await one.groups.reject("s", "g", [given.lease], dead=True) == [True]
        await until(lambda: other.groups.heard("s", "g"))
        await asyncio.sleep(0.05)  # what was announced before is not what is looked for
        woken.clear()
        match what:
            case "append":
                await say(one, "s/a")
            case "nack":
                await one.groups.reject("s", "g", [given.lease])
            case "give back":
                await one.groups.give_back("s", "g", [given.lease])
            case "release":
                await one.groups.release("s", "g", "a")
            case "lose":
                await one.groups.lose("s", "g", "a")
            case "room" | "line":
                await ack(one, given)
            case _:
                await one.groups.redrive("s", "g")
        async with asyncio.timeout(HANG_SECONDS):
            await woken.wait()
        assert len(await take(other)) == 1
        end()


@watched
async def test_who_watches_looks_now_and_then(url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.streams.redis.group_watching.LOOK_SECONDS", 0.01)
    async with nodes(url, prefix, GroupConfiguration("g")) as (_, other):
        woken: list[int] = []
        end = other.groups.watch("s", "g", lambda: woken.append(1))
        await until(lambda: len(woken) > 5)
        end()


@watched
async def test_a_lease_that_runs_out_counts_and_its_token_is_stale(url: str, prefix: str) -> None:
    group = GroupConfiguration("g", ack_wait=0.05, backoff=(), max_deliver=3)
    async with nodes(url, prefix, group) as (one, other):
        await say(one, "s/a")
        given: list[LeasedPublication] = []
        for store in (one, other, one):
            async with asyncio.timeout(HANG_SECONDS):
                while not (again := await take(store)):  # noqa: ASYNC110 - time has to pass
                    await asyncio.sleep(0.005)
            given += again
        assert [each.attempt for each in given] == [1, 2, 3]
        assert given[0].lease.fence < given[1].lease.fence < given[2].lease.fence
        assert await ack(other, *given[:2]) == [False, False]
        async with asyncio.timeout(HANG_SECONDS):
            while not (await other.groups.figures("s", "g")).dead:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        (letter,), _ = await one.groups.dead_letters("s", "g", after=None, limit=9)
        assert (letter.attempts, letter.reason) == (3, "lease ran out")
        assert (await one.groups.figures("s", "g")).redelivered == 2


@watched
async def test_a_stream_refuses_what_has_no_room_behind_what_a_group_keeps(url: str, prefix: str) -> None:
    group = GroupConfiguration("g", keep_unacked=True)
    async with nodes(url, prefix, group, max_messages=5) as (one, other):
        await say(one, *["s/a"] * 5)
        (first, second) = await take(other, 2)
        for _ in range(2):
            with pytest.raises(StoreFull, match="finish"):
                await say(one, "s/a")
        # Out of order: the older one still holds its place.
        assert await ack(one, second) == [True]
        with pytest.raises(StoreFull):
            await say(other, "s/a")
        assert await ack(one, first) == [True]
        await say(other, "s/a", "s/a")
        with pytest.raises(StoreFull):
            await say(other, "s/a")
        assert (await one.bounds("s")).first == 3
        assert (await one.groups.figures("s", "g")).depth == 5
        assert (await one.groups.figures("s", "g")).lost == 0
        assert offsets(await take(other, 10)) == [3, 4, 5, 6, 7]
        await one.groups.delete("s", "g")
        await say(one, "s/a")


@watched
async def test_what_is_for_no_group_makes_room(url: str, prefix: str) -> None:
    group = GroupConfiguration("g", filter="s/a", keep_unacked=True)
    async with nodes(url, prefix, group, max_messages=5) as (one, other):
        await say(one, *["t/x"] * 5)
        with pytest.raises(StoreFull):
            await say(one, "s/a")
        # Nobody takes anything, and yet the group gets past what isn't its own.
        async with asyncio.timeout(HANG_SECONDS):
            while not await appended(other, "s/a"):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        assert offsets(await take(one, 5)) == [6]


async def appended(store: RedisStore, topic: str) -> bool:
    try:
        await say(store, topic)
    except StoreFull:
        return False
    return True


@watched
async def test_what_groups_keep_counts_by_its_size_too(url: str, prefix: str) -> None:
    group = GroupConfiguration("g", keep_unacked=True)
    async with nodes(url, prefix, group, max_bytes=2000) as (one, _):
        answers = await asyncio.gather(
            *(one.append("s", Publication("s/a", "a", 0, b'"%b"' % (b"x" * 300))) for _ in range(100)),
            return_exceptions=True,
        )
        assert {type(each) for each in answers[6:]} == {StoreFull}
        kept = (await one.groups.figures("s", "g")).depth
        assert 3 <= kept <= 6
        await ack(one, *await take(one, 1))
        await one.append("s", Publication("s/a", "a", 0, b'"%b"' % (b"x" * 300)))


@watched
@pytest.mark.parametrize("fair_by", ["", "level:1"])
async def test_what_retention_takes_is_counted_exactly(url: str, prefix: str, fair_by: str) -> None:
    group = GroupConfiguration("g", filter="s/+", fair_by=fair_by)
    async with nodes(url, prefix, group, max_messages=10) as (one, other):
        assert await one.groups.put("s", GroupConfiguration("all", start=Start(StartKind.EARLIEST)))
        await say(one, *["s/a", "t/a"] * 5)
        given = await take(other, 2)
        await one.groups.give_back("s", "g", [given[1].lease])
        await say(one, *["s/a", "t/a", "u/a"] * 5)
        # Of the five on s/…, one is leased, one went back, and three were never given.
        figures = await other.groups.figures("s", "g")
        assert (figures.lost, figures.depth, figures.in_flight) == (6, 4, 1)
        assert (await one.groups.figures("s", "all")).lost == 15
        assert await ack(one, given[0]) == [True]
        assert await ack(one, given[1]) == [False]
        assert (await other.groups.figures("s", "g")).depth == 3
        assert offsets(await take(one, 9)) == [17, 20, 23]


@watched
async def test_what_is_purged_is_nobodys_work_any_more(url: str, prefix: str) -> None:
    group = GroupConfiguration("g", backoff=(), ordered_by_key=True)
    async with nodes(url, prefix, group) as (one, other):
        await say(one, *["s/x", "s/a"] * 6)
        await say(one, "s/x", "s/a", "s/x", key="k")
        given = {each.lease.offset: each for each in await take(one, 13)}
        dead = [given[1].lease, given[2].lease, given[3].lease]
        await one.groups.reject("s", "g", dead, dead=True)
        await one.groups.redrive("s", "g", ids=["3"])
        await other.groups.give_back("s", "g", [given[5].lease, given[6].lease])
        await other.groups.reject("s", "g", [given[7].lease], delay=100_000)
        await purge(other, "s", "s/x")
        figures = await one.groups.figures("s", "g")
        assert (figures.lost, figures.dead) == (0, 1)
        assert (figures.depth, figures.in_flight, figures.delayed, figures.parked) == (6, 4, 0, 0)
        assert await ack(one, given[9], given[8]) == [False, True]
        assert offsets(await take(one, 20)) == [6, 14]
        (letter,), _ = await one.groups.dead_letters("s", "g", after=None, limit=9)
        assert letter.publication.topic == "s/a"


@watched
@pytest.mark.parametrize("fair_by", ["", "level:1"])
async def test_a_log_that_lost_its_end_holds_no_group_up(
    url: str, prefix: str, client: redis.Redis, fair_by: str
) -> None:
    async with nodes(url, prefix, GroupConfiguration("g", backoff=(), fair_by=fair_by)) as (one, other):
        await say(one, *["s/a"] * 4)
        before = await take(one, 1)
        keys = client.keys(f"{{{prefix}:stream:s}}*")
        kept = {key: client.dump(key) for key in keys}
        await say(one, *["s/b"] * 4)
        given = await take(other, 6)
        # As after a failover to a server that had heard of nothing since.
        client.delete(*client.keys(f"{{{prefix}:stream:s}}*"))
        for key, value in kept.items():
            client.restore(key, 0, value)
        assert (await one.groups.figures("s", "g")).depth == 4
        await say(one, "s/c")
        again = await take(other, 9)
        assert offsets(again) == [2, 3, 4, 5]
        assert again[-1].publication.topic == "s/c"
        assert min(each.lease.fence for each in again) > max(each.lease.fence for each in given)
        assert await ack(one, *before, *given) == [False] * 7
        assert await ack(one, *again) == [True] * 4
        figures = await one.groups.figures("s", "g")
        assert (figures.depth, figures.in_flight) == (1, 1)


@watched
async def test_a_group_goes_on_without_its_log(url: str, prefix: str, client: redis.Redis) -> None:
    async with nodes(url, prefix, GroupConfiguration("g", ordered_by_key=True)) as (one, other):
        await say(one, *["s/a"] * 4, key="k")
        await take(one, 2)
        client.delete(*(f"{{{prefix}:stream:s}}:{name}" for name in ("log", "meta", "topics")))
        await say(one, "s/b", key="k")
        assert offsets(await take(other, 4)) == [1]
        assert (await other.groups.figures("s", "g")).depth == 1


@watched
async def test_changed_settings_count_for_what_waits(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g", backoff=())) as (one, other):
        for number in range(600):
            await say(one, f"s/{number % 3}", key=f"k{number % 2}")
        given = await take(one, 600)
        await one.groups.release("s", "g", "a")
        assert not await other.groups.put("s", GroupConfiguration("g", ordered_by_key=True, backoff=()))
        assert (await other.groups.groups("s"))["g"].ordered_by_key
        assert offsets(await take(other, 9)) == [1, 2]
        assert (await one.groups.figures("s", "g")).parked == 598
        assert not await one.groups.put("s", GroupConfiguration("g", fair_by="level:2", backoff=()))
        await other.groups.release("s", "g", "a")
        anew = await take(other, 600)
        assert sorted(offsets(anew)) == list(range(1, 601))
        assert all(len({each.publication.topic for each in anew[at : at + 3]}) == 3 for at in range(9))
        await other.groups.give_back("s", "g", [each.lease for each in anew[6:]])
        figures = await one.groups.figures("s", "g")
        assert (figures.depth, figures.parked, figures.in_flight) == (600, 0, 6)
        assert await ack(one, *given) == [False] * 600


@watched
async def test_what_is_damaged_goes_to_nobody_and_is_counted(
    url: str, prefix: str, client: redis.Redis
) -> None:
    async with nodes(url, prefix, GroupConfiguration("g")) as (one, other):
        await say(one, "s/a", "s/a", "s/a")
        log = f"{{{prefix}:stream:s}}:log"
        _, fields = client.xrange(log, "2-0", "2-0")[0]
        client.xdel(log, "3-0", "2-0")
        client.xadd(log, {b"h": fields[b"h"], b"r": fields[b"r"][:-3] + b"xyz"}, id="4-0")
        await say(one, "s/b")
        assert offsets(await take(other, 5)) == [1, 5]


@watched
async def test_what_was_taken_for_nobody_goes_back(redis_server: RunningRedis, prefix: str) -> None:
    async with running(redis_server.url, prefix, StreamConfiguration("s", "#")) as one:
        await one.groups.put("s", GroupConfiguration("g", ack_wait=1000.0))
        await say(one, "s/a")
        (failed,) = await take(one, 1)
        await one.groups.reject("s", "g", [failed.lease], delay=0)
        redis_server.freeze()
        taking = asyncio.create_task(take(one, 1))
        await asyncio.sleep(0.1)  # it is on its way, and Redis does what it was asked
        taking.cancel()
        redis_server.thaw()
        async with asyncio.timeout(HANG_SECONDS):
            while not (given := await take(one, 1, "b")):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        assert given[0].attempt == 2
        assert (await one.groups.figures("s", "g")).redelivered == 1
        assert await ack(one, *given) == [True]


@watched
async def test_what_a_group_keeps_does_not_grow_too_old(url: str, prefix: str) -> None:
    group = GroupConfiguration("g", keep_unacked=True)
    async with nodes(url, prefix, group, max_age=0.001) as (one, other):
        await say(one, "s/a")
        await asyncio.sleep(0.01)
        await say(one, "s/a", "s/a")
        given = await take(other, 2)
        assert offsets(given) == [1, 2]
        await ack(one, *given)
        await asyncio.sleep(0.01)
        await say(one, "s/a")
        assert (await one.bounds("s")).first == 3


@watched
async def test_dead_letters_are_told_in_pages(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g")) as (one, other):
        await say(one, *(f"s/{number % 2}" for number in range(600)))
        given = await take(one, 600)
        await other.groups.reject("s", "g", [each.lease for each in given], dead=True)
        told: dict[int, str] = {}
        after = None
        while True:
            page, after = await other.groups.dead_letters("s", "g", after=after, limit=400)
            told |= {each.publication.offset or 0: each.id for each in page}
            if after is None:
                break
        assert list(told) == list(range(600, 0, -1))
        page, _ = await other.groups.dead_letters("s", "g", after=told[599], limit=2)
        assert [each.id for each in page] == [told[598], told[597]]
        assert await one.groups.redrive("s", "g", topic_filter="s/1", dry_run=True) == 300
        assert await one.groups.redrive("s", "g", topic_filter="s/1") == 300
        assert await one.groups.discard("s", "g", ids=[told[1], told[3], told[3], "x", "5", told[2]]) == 2
        assert (await one.groups.figures("s", "g")).dead == 298
        assert offsets(await take(other, 2)) == [2, 4]


@watched
async def test_dead_letters_that_are_too_old_go(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g", dead_max_age=0.001)) as (one, other):
        await say(one, "s/a")
        (given,) = await take(one)
        await one.groups.reject("s", "g", [given.lease], dead=True)
        async with asyncio.timeout(HANG_SECONDS):
            while (await one.groups.figures("s", "g")).dead:
                await other.groups.sweep()


@watched
async def test_what_waits_can_be_browsed_and_explained(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g", filter="s/#")) as (one, other):
        await say(one, *["s/a", "t/a"] * 4)
        await take(one, 1, "somebody")
        found, onward = await other.groups.browse("s", "g", None, after=0, limit=9)
        assert [each.state for each in found] == ["leased", "waiting", "waiting", "waiting"]
        assert onward is None
        found, onward = await other.groups.browse("s", "g", "waiting", after=3, limit=1)
        assert ([each.offset for each in found], onward) == ([5], 5)
        told = [await other.groups.explain("s", "g", offset) for offset in (1, 2, 3, 7, 8, 9)]
        assert [each.state for each in told] == ["leased", "other", "waiting", "waiting", "other", "beyond"]
        assert (told[0].member, told[2].ahead, told[3].ahead) == ("somebody", 0, 2)


@watched
async def test_the_index_finds_offsets_and_counts(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g")) as (one, other):
        await say(one, *["s/a", "$t/a", "s/b"] * 5)
        assert [each.offset for each in await other.at("s", [1, 2, 15, 16])] == [1, 2, 15]
        assert await other.count("s", "#", 0, 99) == 10
        assert await other.count("s", "s/b", 3, 14) == 3
        assert await other.count("s", "$t/+", 0, 15) == 5
        await purge(one, "s", "s/a")
        assert await other.count("s", "#", 0, 99) == 5
        assert [each.offset for each in await other.at("s", [1, 2])] == [2]
        await purge(one, "s", "$t/a")
        assert await other.count("s", "#", 3, 99) == 4


@watched
async def test_rare_topics_are_found_by_the_index(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g", filter="rare")) as (one, other):
        await asyncio.gather(*(say(one, "s/a") for _ in range(5000)))
        await say(one, "rare", "s/a")
        assert offsets(await take(other, 2)) == [5001]
        assert (await one.groups.figures("s", "g")).depth == 1


@watched
async def test_groups_that_are_not_there_are_not_found(url: str, prefix: str) -> None:
    async with nodes(url, prefix, GroupConfiguration("g")) as (one, other):
        for name in ("h", "g:state", ""):
            with pytest.raises(NotFound):
                await one.groups.take("s", name, ["a"])
        with pytest.raises(NotFound):
            await one.groups.figures("t", "g")
        await say(one, "s/a")
        await one.groups.delete("s", "g")
        assert await other.groups.groups("s") == {}
        with pytest.raises(NotFound):
            await take(other)
        with pytest.raises(NotFound):
            await other.groups.delete("s", "g")


@watched
async def test_the_documented_rights_are_enough(module_redis_server: RunningRedis, prefix: str) -> None:
    name = f"gateway:{prefix}"
    module_redis_server.call("ACL", "SETUSER", "gateway", "reset", *documented())
    url = f"redis://gateway:PASSWORD@{module_redis_server.address}/0"
    group = GroupConfiguration("g", ordered_by_key=True, fair_by="key", keep_unacked=True, backoff=())
    name = "gateway"
    async with nodes(url, name, group, max_messages=50) as (one, other):
        await say(one, *["s/a"] * 5, key="k")
        (given,) = await take(other, 3)
        assert await one.groups.reject("s", "g", [given.lease]) == [True]
        (given,) = await take(other, 3)
        assert await one.groups.reject("s", "g", [given.lease], dead=True) == [True]
        assert await one.groups.redrive("s", "g") == 1
        assert await one.groups.extend("s", "g", [given.lease], 5) == [False]
        (given,) = await take(other, 3)
        await one.groups.lose("s", "g", "a")
        await one.groups.figures("s", "g")
        await one.groups.explain("s", "g", 1)
        await one.groups.browse("s", "g", None, after=0, limit=9)
        await one.groups.put("s", GroupConfiguration("g", filter="s/a"))
        await say(one, *["s/a"] * 60)
        await purge(one, "s", "s/a")
        assert (await one.groups.figures("s", "g")).depth == 0
        await one.groups.delete("s", "g")
        assert one.statistics().refused == 0


@watched
async def test_a_cluster_keeps_groups_together(tmp_path: Path, prefix: str) -> None:
    group = GroupConfiguration("g", ordered_by_key=True, fair_by="level:2", keep_unacked=True, backoff=())
    with redis_cluster(tmp_path) as servers:
        url = f"redis+cluster://{servers[0].address}"
        async with nodes(url, prefix, group, max_messages=9) as (one, other):
            woken = asyncio.Event()
            end = other.groups.watch("s", "g", woken.set)
            await until(lambda: other.groups.heard("s", "g"))
            await say(one, *["s/a", "s/b"] * 4, key="k")
            (given,) = await take(one, 3)
            woken.clear()
            assert await one.groups.reject("s", "g", [given.lease], dead=True) == [True]
            async with asyncio.timeout(HANG_SECONDS):
                await woken.wait()
            assert await other.groups.redrive("s", "g") == 1
            assert (await one.groups.figures("s", "g")).parked == 7
            await purge(one, "s", "s/b")
            assert (await other.groups.figures("s", "g")).depth == 4
            end()


@watched
@pytest.mark.parametrize(
    "group",
    [
        GroupConfiguration("g", ack_wait=60.0),
        GroupConfiguration("g", ack_wait=60.0, ordered_by_key=True),
        GroupConfiguration("g", ack_wait=60.0, keep_unacked=True),
        GroupConfiguration("g", ack_wait=60.0, fair_by="level:2"),
        GroupConfiguration("g", ack_wait=60.0, fair_by="level:2", keep_unacked=True),
    ],
)
async def test_what_is_kept_together_comes_apart(
    url: str, prefix: str, client: redis.Redis, group: GroupConfiguration
) -> None:
    """Of what one call leased some is done, some fails, some goes back; figures are exact all the while."""
    async with nodes(url, prefix, group) as (one, other):
        await say(one, *(f"t/{number}" for number in range(100)))
        given = list((await one.groups.take("s", "g", ["a", "b"] * 50)).deliveries)
        assert len(client.hkeys(f"{{{prefix}:stream:s}}:group:g:runs")) == (3 if group.fair_by else 2)
        done = given[10:60:2] + given[90:] + given[60:90] + given[11:60:2]
        for place in range(0, 90, 9):
            some = done[place : place + 9]
            assert await ack(other, *some) == [True] * 9
            assert await ack(one, *some) == [False] * 9
            left = await one.groups.figures("s", "g")
            assert left.depth == left.in_flight == 100 - place - 9
            assert sum(left.members.values()) == left.in_flight
            floor = client.zscore(f"{{{prefix}:stream:s}}:floors", "g")
            first = min({each.lease.offset for each in given} - set(offsets(done[: place + 9])))
            assert floor == (first - 1 if group.keep_unacked else None)
        assert await one.groups.reject("s", "g", [given[0].lease], delay=60_000) == [True]
        assert await one.groups.extend("s", "g", [given[1].lease], 60_000) == [True]
        await one.groups.release("s", "g", "a")
        left = await one.groups.figures("s", "g")
        assert (left.depth, left.in_flight, left.delayed, left.members) == (10, 5, 1, {"b": 5})
        again = await take(other, 10)
        assert offsets(again) == [3, 5, 7, 9]
        assert await ack(one, *again, *given[1:10:2]) == [True] * 9
        left = await one.groups.figures("s", "g")
        assert (left.depth, left.in_flight, left.delayed) == (1, 0, 1)
        for key in ("runs", "holders", "fronts", "held", "ready", "turns", "queues"):
            assert not client.exists(f"{{{prefix}:stream:s}}:group:g:{key}")


@watched
async def test_what_waits_for_a_turn_is_known_of(url: str, prefix: str, client: redis.Redis) -> None:
    """Its place, its number, the oldest of it, and what is purged of it; nothing is trimmed behind it."""
    group = GroupConfiguration("g", ack_wait=60.0, fair_by="level:1", keep_unacked=True)
    floors = f"{{{prefix}:stream:s}}:floors"
    async with nodes(url, prefix, group) as (one, other):
        await say(one, *["a/x", *["a/y"] * 9] * 60, "b/x")
        given = await take(one, 3)
        assert offsets(given) == [1, 601, 2]
        assert await ack(other, given[0], given[2]) == [True, True]
        assert client.zscore(floors, "g") == 2
        assert (await other.groups.explain("s", "g", 300)).state == "waiting"
        assert (await other.groups.explain("s", "g", 2)).state == "finished"
        page, after = await one.groups.browse("s", "g", "waiting", after=290, limit=300)
        assert [each.offset for each in page] == list(range(291, 591))
        assert after == 590
        await purge(other, "s", "a/y")
        left = await one.groups.figures("s", "g")
        assert (left.depth, left.in_flight, left.lost) == (60, 1, 0)
        assert client.zscore(floors, "g") == 10
        assert (await other.groups.explain("s", "g", 300)).state == "finished"
        # Under other settings, and again, they are those that are left.
        assert not await one.groups.put("s", replace(group, fair_by=""))
        assert offsets(await take(other, 2)) == [11, 21]
        assert not await one.groups.put("s", group)
        await say(one, "b/y", "a/y")
        assert offsets(await take(one, 3)) == [31, 602, 41]
        assert (await one.groups.figures("s", "g")).depth == 62
        assert offsets(await take(other, 90)) == [*range(51, 600, 10), 603]
        assert client.zscore(floors, "g") == 10


@watched
async def test_what_is_far_behind_what_waits_waits_too(
    url: str, prefix: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are so many bits, and what finds none is kept as what came back is."""
    few = TAKE.text.replace("2 ^ 25, 1024", "64, 2")
    assert few != TAKE.text
    script = Script(few, hashlib.sha1(few.encode(), usedforsecurity=False).hexdigest())
    monkeypatch.setattr(groups, "TAKE", script)
    async with nodes(url, prefix, GroupConfiguration("g", ack_wait=60.0, fair_by="key")) as (one, other):
        await say(one, *["t"] * 100, key="k")
        await say(one, "t", key="l")
        given = await take(one, 5)
        assert offsets(given) == [1, 101, 2, 3, 4]
        opened = f"{{{prefix}:stream:s}}:group:g:open"
        waited = client.zcard(opened)
        assert waited > 30
        assert (await other.groups.figures("s", "g")).depth == 101
        await say(one, *["t"] * 3, key="l")
        given += await take(other, 90)
        assert client.zcard(opened) < waited
        given += await take(one, 90)
        assert sorted(offsets(given)) == list(range(1, 105))
        assert all(await ack(one, *given))
        assert (await other.groups.figures("s", "g")).depth == client.exists(opened) == 0


@watched
async def test_nothing_is_left_of_shares_of_which_nothing_waits(
    url: str, prefix: str, client: redis.Redis
) -> None:
    """However many keys there were, and however many waited of one of them."""
    kept = [
        f"{{{prefix}:stream:s}}:group:g:{key}" for key in ("waiting", "turns", "queues", "pieces", "ready")
    ]
    async with nodes(url, prefix, GroupConfiguration("g", ack_wait=60.0, fair_by="key")) as (one, other):
        for name in (f"key-{number}" for number in range(100)):
            await say(one, "t", key=name)
        await say(one, *["t"] * 200, key="key-50")
        given = await take(other, 50)
        assert offsets(given) == list(range(1, 51))
        assert [client.exists(key) for key in kept] == [1, 1, 1, 1, 0]
        assert client.hlen(kept[2]) == client.llen(kept[1]) == 50
        while some := await take(one, 100):
            given += some
        assert [client.exists(key) for key in kept] == [0] * 5
        assert len(set(offsets(given))) == 300
        assert all(await ack(one, *given))
        # What is purged while it waits takes its share along, at the latest when its turn comes.
        await say(one, *["t"] * 150, key="key-1")
        await say(one, "u", key="key-2")
        assert len(await take(one)) == 1
        await purge(one, "s", "t")
        assert offsets(await take(one, 5)) == [451]
        assert [client.exists(key) for key in kept[1:]] == [0] * 4
