"""What a store does when somebody has taken publications out of its log, or changed them where they lie."""

from __future__ import annotations

import asyncio
import random
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import redis

from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.pages import Hole
from gateway.streams.redis.store import RedisStore
from gateway.streams.sqlite.store import SqliteStore
from tests.conformance.store_contenders import (
    LIMITS,
    REDIS_LIMITS,
    Clock,
    Contender,
    message,
    offsets,
    until,
)
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.core.streams.pages import Page
    from gateway.streams.base import Store


@dataclass
class Harmed:
    """A store, and what may be done to its log behind its back, while it is stopped or not."""

    contender: Contender
    remove: Callable[..., None]
    flip: Callable[[int, int], None]


def flipped(record: bytes, bit: int) -> bytes:
    changed = bytearray(record)
    changed[bit // 8 % len(record)] ^= 1 << bit % 8
    return bytes(changed)


def sqlite(request: pytest.FixtureRequest) -> Harmed:
    path = request.getfixturevalue("tmp_path") / "streams.db"
    clock = Clock()

    def change(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement, values)

    def flip(offset: int, bit: int) -> None:
        with closing(sqlite3.connect(path)) as connection:
            (record,) = connection.execute("SELECT record FROM log_1 WHERE offset = ?", (offset,)).fetchone()
        change("UPDATE log_1 SET record = ? WHERE offset = ?", flipped(record, bit), offset)

    def remove(*gone: int) -> None:
        for offset in gone:
            change("DELETE FROM log_1 WHERE offset = ?", offset)

    contender = Contender(
        lambda configurations: SqliteStore(path, configurations, limits=LIMITS, clock=clock), clock.advance
    )
    return Harmed(contender, remove, flip)


def redis_log(kind: str) -> Callable[[pytest.FixtureRequest], Harmed]:
    def harmed(request: pytest.FixtureRequest) -> Harmed:
        url, prefix = request.getfixturevalue("servers")(kind), secrets.token_hex(4)
        key = f"{{{prefix}:stream:s}}:log"

        def remove(*gone: int) -> None:
            with redis.Redis.from_url(url) as client:
                client.xdel(key, *(f"{offset}-0" for offset in gone))

        def flip(offset: int, bit: int) -> None:
            with redis.Redis.from_url(url) as client:
                entries: Any = client.xrange(key)
                pipe = client.pipeline()
                pipe.delete(key)
                for name, fields in entries:
                    if name == b"%d-0" % offset:
                        fields[b"r"] = flipped(fields[b"r"], bit)
                    pipe.xadd(key, fields, id=name)
                pipe.execute()

        contender = Contender(
            lambda configurations: RedisStore(url, configurations, prefix=prefix, limits=REDIS_LIMITS)
        )
        return Harmed(contender, remove, flip)

    return harmed


# A store in memory has nothing that anybody else could change.
HARMED = {"sqlite": sqlite, "redis": redis_log("redis"), "valkey": redis_log("valkey")}


@pytest.fixture(params=HARMED)
def harmed(request: pytest.FixtureRequest) -> Harmed:
    return HARMED[request.param](request)


async def fill(store: Store, first: int, last: int) -> None:
    await asyncio.gather(*(store.append("s", message(number)) for number in range(first, last + 1)))


async def read_all(
    store: Store, messages: int = 7, size: int = 10_000
) -> tuple[list[int | None], list[Hole]]:
    """Everything, page by page, each begun behind what the one before told of."""
    found: list[int | None] = []
    holes: list[Hole] = []
    after, last = 0, (await store.bounds("s")).last
    while after < last:
        page: Page = await store.read("s", after, messages=messages, size=size)
        reached = max(page.last, page.bounds.first - 1)
        assert reached > after, "a page leads on"
        found += offsets(page)
        holes += page.holes
        after = reached
    return found, holes


def together(holes: list[Hole]) -> set[int]:
    return {offset for each in holes for offset in range(each.first, each.last + 1)}


@pytest.mark.parametrize("messages", [1, 7, 1000])
async def test_what_was_removed_is_a_hole_and_is_passed(harmed: Harmed, messages: int) -> None:
    async with harmed.contender.running() as store:
        await fill(store, 1, 40)
        epoch = (await store.bounds("s")).epoch
    gone = {2, 3, 11, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 39}
    harmed.remove(*gone)
    async with harmed.contender.running() as store:
        found, holes = await read_all(store, messages)
        assert found == [offset for offset in range(1, 41) if offset not in gone]
        assert together(holes) == gone
        assert (await store.bounds("s")).epoch == epoch
        middle = await store.read("s", 21, messages=3)
        assert (middle.holes[0].first, offsets(middle)[:1]) == (22, [30])


async def test_the_newest_that_was_removed_is_a_hole_and_its_offset_stays_given(harmed: Harmed) -> None:
    async with harmed.contender.running() as store:
        await fill(store, 1, 12)
        epoch = (await store.bounds("s")).epoch
    harmed.remove(11, 12)
    async with harmed.contender.running() as store:
        page = await asyncio.wait_for(store.read("s", 10, messages=10, wait=60), HANG_SECONDS)
        assert (offsets(page), list(page.holes)) == ([], [Hole(11, 12)])
        assert (page.bounds.epoch, page.bounds.last) == (epoch, 12)
        assert (await store.append("s", message(13))).offset == 13
        page = await store.read("s", 9, messages=10)
        assert (offsets(page), list(page.holes)) == ([10, 13], [Hole(11, 12)])
        assert page.bounds.epoch == epoch
        assert (await store.describe("s")).bounds.last == 13


async def test_pages_are_bounded_in_bytes_across_holes(harmed: Harmed) -> None:
    async with harmed.contender.running() as store:
        for number in range(1, 31):
            await store.append("s", message(number, b'"' + b"x" * 998 + b'"'))
    gone = {1, 5, 6, 7, 8, 9, 10, 20}
    harmed.remove(*gone)
    async with harmed.contender.running() as store:
        found, holes = await read_all(store, 100, size=2500)
        assert found == [offset for offset in range(1, 31) if offset not in gone]
        assert together(holes) | {1} == gone
        assert len(offsets(await store.read("s", 1, messages=100, size=2500))) <= 4


async def test_a_damaged_publication_is_a_hole_whichever_bit_it_is(harmed: Harmed) -> None:
    bits = random.Random(7).sample(range(8 * 200), 30)
    async with harmed.contender.running() as store:
        for number in range(1, 61):
            await store.append("s", message(number, b'"' + b"x" * 998 + b'"'))
    damaged = list(range(3, 33))
    for offset, bit in zip(damaged, bits, strict=True):
        harmed.flip(offset, bit)
    async with harmed.contender.running() as store:
        found, holes = await read_all(store)
        assert together(holes) == set(damaged)
        assert found == [offset for offset in range(1, 61) if offset not in damaged]


async def test_times_are_found_across_holes(harmed: Harmed) -> None:
    async with harmed.contender.running() as store:
        for number in range(1, 21):
            await store.append("s", message(number))
            await harmed.contender.pass_time(0.003)
        times = {each.offset: each.time for each in (await store.read("s", 0, messages=100)).publications}
    harmed.remove(5, 9, 10, 11, 12, 20)
    async with harmed.contender.running() as store:
        for offset in (1, 4, 8, 19):
            assert await store.before("s", times[offset]) == offset - 1
        assert 8 <= await store.before("s", times[13]) <= 12
        assert 8 <= await store.before("s", times[10]) <= 12
        told = await store.describe("s")
        assert told.first_time == times[1]
        assert told.last_time is not None
        assert told.last_time >= times[19]


async def test_retention_lets_nothing_go_for_a_hole(harmed: Harmed) -> None:
    limits = StreamConfiguration("s", "s/#", max_messages=100)
    async with harmed.contender.running(limits) as store:
        await fill(store, 1, 100)
    gone = set(range(2, 60)) | {80}
    harmed.remove(*gone)
    async with harmed.contender.running(limits) as store:
        await fill(store, 101, 150)
        bounds = await store.bounds("s")
        found, holes = await read_all(store)
        # Redis takes a log whose beginning has gone for trimmed up to the first that is there.
        assert bounds.first in {51, 60}
        assert found == [offset for offset in range(51, 151) if offset not in gone]
        assert together(holes) <= gone


async def test_a_log_of_which_nothing_is_left_goes_on(harmed: Harmed) -> None:
    async with harmed.contender.running(StreamConfiguration("s", "s/#", max_age=30)) as store:
        await fill(store, 1, 5)
    harmed.remove(1, 2, 3, 4, 5)
    async with harmed.contender.running(StreamConfiguration("s", "s/#", max_age=30)) as store:
        assert (await read_all(store))[0] == []
        assert (await store.append("s", message(6))).offset == 6

        async def there() -> bool:
            return offsets(await store.read("s", 5, messages=10)) == [6]

        await until(there)


def test_flipping_is_what_it_says(tmp_path: Path) -> None:
    assert flipped(b"\x00\x00", 9) == b"\x00\x02"
