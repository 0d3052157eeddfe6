"""A new master is looked for when a sentinel tells of it, not at the next time that it would be anyway."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.errors import RedisUnavailable
from gateway.redis.sentinel_news import concerns
from gateway.redis.servers import Address, SentinelServers, servers_of
from tests.integration.scripted_sentinel import ScriptedSentinel, scripted_sentinel
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def sentinels() -> Iterator[list[ScriptedSentinel]]:
    with scripted_sentinel(1001) as one, scripted_sentinel(1001) as other:
        yield [one, other]


@pytest.mark.parametrize(
    ("reply", "matters"),
    [
        ([b"message", b"+switch-master", b"main 10.0.0.1 6379 10.0.0.2 6379"], True),
        ([b"message", b"+switch-master", b"other 10.0.0.1 6379 10.0.0.2 6379"], False),
        ([b"message", b"+promoted-slave", b"slave 10.0.0.2:6379 10.0.0.2 6379 @ main 10.0.0.1 6379"], True),
        ([b"message", b"+promoted-slave", b"slave main 10.0.0.2 6379 @ other 10.0.0.1 6379"], False),
        ([b"message", b"+promoted-slave", b"slave 10.0.0.2:6379 @"], False),
        ([b"message", b"+switch-master", b""], False),
        ([b"subscribe", b"+switch-master", 1], False),
        ([b"pong", b""], False),
    ],
)
def test_which_news_matter(reply: list[bytes], matters: bool) -> None:
    assert concerns(reply, "main") is matters


@asynccontextmanager
async def watched(*sentinels: ScriptedSentinel) -> AsyncIterator[tuple[SentinelServers, list[None]]]:
    """The servers of these sentinels, all of which are listened to; and one item for whatever they told."""
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)
    servers = servers_of(f"redis+sentinel://{hosts}/main", timeout=HANG_SECONDS)
    assert isinstance(servers, SentinelServers)
    told: list[None] = []
    watching = asyncio.create_task(servers.watch(lambda: told.append(None)))
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await more(told, len(sentinels))
            yield servers, told
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def more(told: list[None], than: int) -> None:
    while len(told) < than:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("event", [b"+switch-master", b"+promoted-slave"])
async def test_who_tells_of_a_new_master_is_asked_first(
    sentinels: list[ScriptedSentinel], event: bytes
) -> None:
    one, other = sentinels
    async with watched(one, other) as (servers, told):
        assert await servers.locate([b"k"]) == {Address("127.0.0.1", 1001): [0]}
        # The first one in the URL has yet to hear of it.
        await asyncio.to_thread(other.switch, 1002, event)
        await more(told, 3)
        assert await servers.locate([b"k"]) == {Address("127.0.0.1", 1002): [0]}


async def test_an_answer_from_before_the_news_does_not_undo_them(
    sentinels: list[ScriptedSentinel], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = sentinels
    async with watched(one, other) as (servers, told):
        ask = servers._ask

        async def be_told_meanwhile(sentinel: Address) -> Address:
            monkeypatch.undo()
            answer = await ask(sentinel)
            await asyncio.to_thread(other.switch, 1002)
            await more(told, 3)
            return answer

        monkeypatch.setattr(servers, "_ask", be_told_meanwhile)
        assert await servers.locate([b"k"]) == {Address("127.0.0.1", 1001): [0]}
        assert await servers.locate([b"k"]) == {Address("127.0.0.1", 1002): [0]}


async def test_after_a_break_it_is_listened_to_again_and_asked(sentinels: list[ScriptedSentinel]) -> None:
    one, _ = sentinels
    servers = servers_of(one.url, timeout=5)
    changed = asyncio.Event()
    watching = asyncio.create_task(servers.watch(changed.set))
    try:
        async with asyncio.timeout(HANG_SECONDS):
            for _ in range(2):
                await changed.wait()
                changed.clear()
                assert one._portal is not None
                await asyncio.to_thread(one._portal.call, one.close)
            await changed.wait()
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def test_without_sentinels_nobody_is_listened_to() -> None:
    for url in ("redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1"):
        await servers_of(url, timeout=1).watch(lambda: None)
    with pytest.raises(RedisUnavailable):
        await servers_of("redis+sentinel://127.0.0.1:1/main", timeout=1).locate([b"k"])
