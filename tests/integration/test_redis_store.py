"""Streams in a real Redis: what it may do to a log, and what a node makes of that."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.core.messages.commands import Position
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.pages import Hole
from gateway.errors import RateLimited, StoreFull, StreamUnavailable
from gateway.streams.base import Appended, Dedupe
from gateway.streams.redis.store import RedisStore
from tests.integration.store_in_redis import (
    TIMEOUT,
    fill,
    labels,
    message,
    page_of,
    running,
    until,
)
from tests.patience import HANG_SECONDS
from tests.redis_process import redis_servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.redis_process import RunningRedis

pytestmark = pytest.mark.usefixtures("no_task_left")


@pytest.fixture
def server(module_redis_server: RunningRedis) -> Iterator[RunningRedis]:
    yield module_redis_server
    for option, value in (("maxmemory", "0"), ("maxmemory-policy", "noeviction")):
        module_redis_server.call("CONFIG", "SET", option, value)


async def connections(server: RunningRedis) -> int:
    clients: dict[str, int] = await asyncio.to_thread(server.call, "INFO", "clients")  # type: ignore[assignment]
    return int(clients["connected_clients"])


# What is lost in Redis


async def test_a_log_that_is_gone_begins_a_new_epoch(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, *range(5))
        old = await store.bounds("s")
        server.call("DEL", f"{{{prefix}:stream:s}}:log", f"{{{prefix}:stream:s}}:meta")
        assert await fill(store, "new") == [Appended("new", 1)]
        bounds = await store.bounds("s")
        assert bounds.last == 1
        assert bounds.epoch != old.epoch
        assert store.statistics().epochs_raised == 1


@pytest.mark.parametrize("lost", ["log", "meta"])
async def test_a_log_that_is_lost_in_part_begins_a_new_epoch_for_all_nodes(
    server: RunningRedis, prefix: str, lost: str
) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, *range(5))
        old = await store.bounds("s")
    server.call("DEL", f"{{{prefix}:stream:s}}:{lost}")
    async with running(server.url, prefix) as fresh:
        page = await page_of(fresh)
        assert page.bounds.epoch != old.epoch
        assert labels(page) == ([] if lost == "log" else ["0", "1", "2", "3", "4"])
        (answer,) = await fill(fresh, "new")
        assert answer.offset == page.bounds.last + 1
        assert (await fresh.describe("s")).bounds.epoch == page.bounds.epoch


async def test_a_log_with_another_end_is_another_log(server: RunningRedis, prefix: str) -> None:
    """A node that had seen nothing goes on from an old copy, beyond what another node had seen."""
    async with running(server.url, prefix) as witness:
        await fill(witness, *range(5))
        old = await page_of(witness)
        copies = {key: dump(server, f"{{{prefix}:stream:s}}:{key}") for key in ("log", "meta")}
        await fill(witness, "a", "b")
        for key, copy in copies.items():
            restore(server, f"{{{prefix}:stream:s}}:{key}", copy)
        async with running(server.url, prefix) as unaware:
            answers = await fill(unaware, "x", "y", "z")
            assert [each.offset for each in answers] == [6, 7, 8]
            assert (await unaware.bounds("s")).epoch == old.bounds.epoch
            page = await page_of(witness)
            assert page.bounds.epoch != old.bounds.epoch
            assert labels(page)[5:] == ["x", "y", "z"]
            assert (await unaware.bounds("s")).epoch == page.bounds.epoch


async def test_an_epoch_that_was_raised_is_not_forgotten(server: RunningRedis, prefix: str) -> None:
    """An old copy is of an epoch before the one that a node has seen: offsets there were given twice."""
    async with running(server.url, prefix) as store:
        await fill(store, *range(5))
        first = await store.bounds("s")
        copy = dump(server, f"{{{prefix}:stream:s}}:meta")
        second = await store.raise_epoch("s", Position(first.epoch, 9))
        restore(server, f"{{{prefix}:stream:s}}:meta", copy)
        third = await store.bounds("s")
        assert len({first.epoch, second.epoch, third.epoch}) == 3
        assert int(third.epoch.partition("-")[0]) > int(second.epoch.partition("-")[0])


async def test_what_somebody_removed_is_a_hole_of_the_same_epoch(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, *range(1, 6))
        server.call("XDEL", f"{{{prefix}:stream:s}}:log", "3-0")
        page = await page_of(store)
        assert (labels(page), list(page.holes)) == (["1", "2", "4", "5"], [Hole(3, 3)])
        server.call("XDEL", f"{{{prefix}:stream:s}}:log", "5-0")
        page = await page_of(store, 2)
        assert (labels(page), list(page.holes)) == (["4"], [Hole(3, 3), Hole(5, 5)])
        assert await fill(store, 6) == [Appended("6", 6)]
        assert store.statistics().epochs_raised == 0


async def test_what_is_no_record_is_a_hole(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, 1)
        bounds = await store.bounds("s")
    server.call("XADD", f"{{{prefix}:stream:s}}:log", "2-0", "h", "5 0 x", "r", "?")
    async with running(server.url, prefix) as store:
        assert (await store.bounds("s")).epoch != bounds.epoch
        assert list((await page_of(store, 1)).holes) == [Hole(2, 2)]


# What others write in Redis


async def everything_ends(store: RedisStore, server: RunningRedis) -> None:
    """Each sort of call is answered, one way or another, and Redis serves."""
    calls = [
        store.append("s", message("x"), Dedupe("k", b"f")),
        store.read("s", 0, messages=100),
        store.read("s", 2**60 - 10_000, messages=100),
        store.read("s", 2**53 - 1, messages=100),
        store.before("s", 10**15),
        store.bounds("s"),
    ]
    await asyncio.gather(*calls, return_exceptions=True)
    assert await asyncio.to_thread(server.call, "PING")


@pytest.mark.parametrize("offset", [2**53 - 2**19, 2**60, 2**64 - 1])
async def test_an_entry_beyond_all_offsets_is_refused_until_it_is_removed(
    server: RunningRedis, prefix: str, offset: int
) -> None:
    log = f"{{{prefix}:stream:s}}:log"
    async with running(server.url, prefix) as store:
        await fill(store, 1, 2)
        server.call("XADD", log, f"{offset}-0", "h", "5 0 x", "r", "y")
        await everything_ends(store, server)
        with pytest.raises(StreamUnavailable, match="which no gateway makes"):
            await store.append("s", message(3))
        server.call("DEL", log)
        assert await fill(store, 3) == [Appended("3", 1)]
        assert store.statistics().epochs_raised == 1


@pytest.mark.parametrize("fields", [("x", "y"), ("h", "x", "r", "y"), ("h", "9" * 40 + " 1 x", "r", "y")])
async def test_an_entry_that_no_gateway_made_does_not_stop_what_is_published(
    server: RunningRedis, prefix: str, fields: tuple[str, ...]
) -> None:
    few = StreamConfiguration("s", "s/#", max_messages=3)
    log = f"{{{prefix}:stream:s}}:log"
    async with running(server.url, prefix, few) as store:
        await fill(store, 1)
        for place in ("1-1", "50-0", "100-7", str(2**52) + "-0"):
            server.call("XADD", log, place, *fields)
            await everything_ends(store, server)
        (kept,) = await fill(store, "new")
        assert kept.offset > 2**52
        await everything_ends(store, server)
        page = await store.read("s", kept.offset - 1, messages=10)
        assert labels(page) == ["new"]
        assert page.publications[0].time < 10**13, "the time of Redis' clock"


@pytest.mark.parametrize(
    "fields",
    [("a", "b"), ("h", "x 0 x", "r", "y"), ("h", "-5 0 x", "r", "y"), ("h", "9" * 20 + " 0 x", "r", "y")],
)
async def test_an_entry_that_no_gateway_made_is_a_hole_for_readers(
    server: RunningRedis, prefix: str, fields: tuple[str, ...]
) -> None:
    log = f"{{{prefix}:stream:s}}:log"
    async with running(server.url, prefix) as store:
        await fill(store, 1)
        server.call("XADD", log, "2-0", *fields)
        await fill(store, 3)
        page = await store.read("s", 0, messages=10)
        assert labels(page) == ["1", "3"]
        assert page.holes == [Hole(2, 2)]


REWRITE = """
local entries = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('DEL', KEYS[1])
for _, entry in ipairs(entries) do
  local fields = entry[2]
  if entry[1] == ARGV[1] then
    local h, r = fields[2], fields[4]
    fields = %s
  end
  redis.call('XADD', KEYS[1], entry[1], unpack(fields))
end
"""
"""Writes a log anew, with other fields for one entry."""

WRONG_SHAPES = [
    "{'h', h}",
    "{'r', r}",
    "{'h', h, 'r', r, 'x', 'y'}",
    "{'r', r, 'h', h}",
    "{'h', h, 'x', r}",
    "{'h', h, 'r', ''}",
    "{'h', 'zz', 'r', r}",
    "{'h', '', 'r', r}",
    "{'h', string.rep('9', 40) .. ' 1 x', 'r', r}",
    "{'h', '1 ' .. string.rep('9', 400) .. ' x', 'r', r}",
    "{'h', '1 1', 'r', r}",
    "{'h', string.gsub(h, '^.', '9'), 'r', r}",
    "{'h', string.gsub(h, ' ', '~', 1), 'r', r}",
    "{'h', string.gsub(h, ' ~', '0~'), 'r', r}",
    "{'h', string.gsub(h, '.$', 'x'), 'r', r}",
    "{'h', h, 'r', string.sub(r, 1, -2) .. '?'}",
]


@pytest.mark.parametrize("fields", WRONG_SHAPES)
async def test_an_entry_of_another_shape_is_a_hole(
    server: RunningRedis, prefix: str, caplog: pytest.LogCaptureFixture, fields: str
) -> None:
    log = f"{{{prefix}:stream:s}}:log"
    async with running(server.url, prefix) as store:
        await fill(store, *range(1, 11))
        bounds = await store.bounds("s")
        begun = await store.before("s", 1)
        for offset in (5, 10):
            await asyncio.to_thread(server.call, "EVAL", REWRITE % fields, "1", log, f"{offset}-0")
        page = await page_of(store)
        assert labels(page) == ["1", "2", "3", "4", "6", "7", "8", "9"]
        assert list(page.holes) == [Hole(5, 5), Hole(10, 10)]
        assert list((await store.read("s", 9, messages=5)).holes) == [Hole(10, 10)]
        assert await store.before("s", 1) == begun
        assert await fill(store, 11, 12) == [Appended("11", 11), Appended("12", 12)]
        page = await page_of(store, 9)
        assert (labels(page), list(page.holes)) == (["11", "12"], [Hole(10, 10)])
        assert page.publications[0].time < 10**13, "the time of Redis' clock"
        assert page.bounds.epoch == bounds.epoch
        assert store.statistics().refused == 0
    async with running(server.url, prefix) as fresh:
        assert list((await page_of(fresh)).holes) == [Hole(5, 5), Hole(10, 10)]
    assert "store_answer" not in caplog.text


async def test_a_changed_header_is_a_hole_whichever_bit_it_is(server: RunningRedis, prefix: str) -> None:
    change = """
    local entries, bits = redis.call('XRANGE', KEYS[1], '-', '+'), 0
    redis.call('DEL', KEYS[1])
    for place, entry in ipairs(entries) do
      local header = entry[2][2]
      local at, bit_ = math.floor((place - 1) / 8) + 1, (place - 1) % 8
      if at <= #header then
        local changed = string.char(bit.bxor(string.byte(header, at), 2 ^ bit_))
        header, bits = string.sub(header, 1, at - 1) .. changed .. string.sub(header, at + 1), bits + 1
      end
      redis.call('XADD', KEYS[1], entry[1], 'h', header, 'r', entry[2][4])
    end
    return bits
    """
    async with running(server.url, prefix) as store:
        await fill(store, *range(500))
        bits = await asyncio.to_thread(server.call, "EVAL", change, "1", f"{{{prefix}:stream:s}}:log")
        assert isinstance(bits, int)
        assert 8 * 30 < bits < 500
        page = await page_of(store)
        assert list(page.holes) == [Hole(1, bits)]
        assert len(page.publications) == 500 - bits


async def test_a_foreign_entry_behind_a_junk_header_stops_nothing(server: RunningRedis, prefix: str) -> None:
    log = f"{{{prefix}:stream:s}}:log"
    async with running(server.url, prefix) as store:
        await fill(store, *range(1, 6))
        server.call("EVAL", REWRITE % "{'h', 'zz', 'r', r}", "1", log, "5-0")
        server.call("XADD", log, "6-5", "x", "y")
        assert await fill(store, 7) == [Appended("7", 7)]
        page = await page_of(store)
        assert (labels(page), list(page.holes)) == (["1", "2", "3", "4", "7"], [Hole(5, 6)])


async def test_a_log_of_junk_is_trimmed_by_its_number(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix, StreamConfiguration("s", "s/#", max_messages=10)) as store:
        await fill(store, 1)
        for offset in range(2, 60):
            server.call("XADD", f"{{{prefix}:stream:s}}:log", f"{offset}-0", "h", "zz", "r", "x")
        assert await fill(store, "new") == [Appended("new", 60)]
        assert await asyncio.to_thread(server.call, "XLEN", f"{{{prefix}:stream:s}}:log") == 10
        assert (await store.bounds("s")).first == 51


async def test_entries_of_an_earlier_release_are_read(server: RunningRedis, prefix: str) -> None:
    log = f"{{{prefix}:stream:s}}:log"
    unsealed = "{'h', string.match(h, '^%d+ %d+ %w+'), 'r', r}"
    async with running(server.url, prefix) as store:
        await fill(store, *range(1, 6))
        before = await page_of(store)
    for offset in (2, 5):
        server.call("EVAL", REWRITE % unsealed, "1", log, f"{offset}-0")
    async with running(server.url, prefix) as fresh:
        page = await page_of(fresh)
        assert [(each.id, each.offset, each.time) for each in page.publications] == [
            (each.id, each.offset, each.time) for each in before.publications
        ]
        assert (page.bounds, page.holes) == (before.bounds, ())
        assert await fill(fresh, 6) == [Appended("6", 6)]


@pytest.mark.parametrize("removed", ["", "5-0", "4-0 5-0"])
@pytest.mark.parametrize(("field", "value"), [("total", str(2**53 - 2**20)), ("total", "0"), ("total", "")])
async def test_figures_of_bytes_are_the_logs_own(
    server: RunningRedis, prefix: str, removed: str, field: str, value: str
) -> None:
    async with running(server.url, prefix, StreamConfiguration("s", "s/#", max_bytes=10_000)) as store:
        await fill(store, *range(1, 6))
        held = (await store.describe("s")).bytes
        if removed:
            server.call("XDEL", f"{{{prefix}:stream:s}}:log", *removed.split())
        server.call("HSET", f"{{{prefix}:stream:s}}:meta", field, value)
        await fill(store, *range(6, 9))
        assert labels(await page_of(store, 5)) == ["6", "7", "8"]
        assert labels(await page_of(store))[:3] == ["1", "2", "3"]
        assert 0 < (await store.describe("s")).bytes < 2 * held


async def test_figures_of_time_are_the_logs_own(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, 1)
        server.call("HSET", f"{{{prefix}:stream:s}}:meta", "time", str(2**52))
        await fill(store, 2)
        page = await page_of(store)
        assert labels(page) == ["1", "2"]
        assert page.publications[1].time < 10**13, "the time of Redis' clock"


@pytest.mark.parametrize("offset", ["-5", "1.5", "0", "1e300"])
async def test_an_idempotency_key_of_an_impossible_offset_is_forgotten(
    server: RunningRedis, prefix: str, offset: str
) -> None:
    change = """
    local kept = cmsgpack.unpack(redis.call('GET', KEYS[1]))
    redis.call('SET', KEYS[1], cmsgpack.pack({kept[1], ARGV[1], kept[3]}))
    """
    async with running(server.url, prefix) as store:
        await store.append("s", message(1), Dedupe("k", b"f"))
        (key,) = server.call("KEYS", f"{{{prefix}:stream:s}}:once:*")  # type: ignore[misc]
        server.call("EVAL", change, "1", str(key), offset)
        assert await store.append("s", message(2), Dedupe("k", b"f")) == Appended("2", 2)


async def test_a_label_that_is_no_text_fails_none_of_its_batch(server: RunningRedis, prefix: str) -> None:
    change = """
    local kept = cmsgpack.unpack(redis.call('GET', KEYS[1]))
    redis.call('SET', KEYS[1], cmsgpack.pack({kept[1], kept[2], '\\255'}))
    """
    async with running(server.url, prefix) as store:
        await store.append("s", message(1), Dedupe("k", b"f"))
        (key,) = server.call("KEYS", f"{{{prefix}:stream:s}}:once:*")  # type: ignore[misc]
        server.call("EVAL", change, "1", str(key))
        repeat = store.append("s", message(1), Dedupe("k", b"f"))
        assert await fill(store, 2) == [Appended("2", 2)]
        assert await repeat == Appended("\N{REPLACEMENT CHARACTER}", 1, repeated=True)


async def test_a_page_has_no_more_entries_than_were_asked_for(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, 1)
        for number in range(1, 200):
            server.call("XADD", f"{{{prefix}:stream:s}}:log", f"1-{number}", "h", "1 1 x", "r", "x" * 1000)
        await fill(store, 2)
        assert labels(await store.read("s", 0, messages=10)) == ["1"]
        assert labels(await store.read("s", 1, messages=10)) == ["2"]


@pytest.mark.parametrize("right", ["get", "set", "xtrim", "zadd", "zrem", "zrange", "zremrangebylex"])
async def test_what_redis_refuses_half_way_is_stored_once_and_begins_no_epoch(
    server: RunningRedis, prefix: str, right: str
) -> None:
    server.call("ACL", "SETUSER", "half", "reset", "on", ">p", "~*", "&*", "+@all")
    few = StreamConfiguration("s", "s/#", max_messages=2)
    async with running(f"redis://half:p@{server.address}/0", prefix, few) as store:
        await fill(store, 1, 2)
        epoch = (await store.bounds("s")).epoch
        server.call("ACL", "SETUSER", "half", f"-{right}")
        for _ in range(3):
            with pytest.raises(StreamUnavailable):
                await store.append("s", message("once"), Dedupe("k", b"f"))
        server.call("ACL", "SETUSER", "half", f"+{right}")
        await store.append("s", message("once"), Dedupe("k", b"f"))
        bounds = await store.bounds("s")
        assert (bounds.epoch, bounds.last) == (epoch, 3)
        assert store.statistics().epochs_raised == 0
    server.call("ACL", "DELUSER", "half")


async def test_a_page_is_bounded_though_a_header_says_it_is_small(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, *("x" * 1000 + str(number) for number in range(1, 21)))
        fields = "{'h', '1 900000000000000 x', 'r', r}"
        server.call("EVAL", REWRITE % fields, "1", f"{{{prefix}:stream:s}}:log", "1-0")
        page = await store.read("s", 0, messages=100, size=5000)
        assert [each.offset for each in page.publications] == [1, 2, 3]
        assert (await store.read("s", 3, messages=1)).publications[0].offset == 4


@pytest.mark.parametrize("kept", ["", "x", "\x92\x01\x02", "\x80"])
async def test_an_idempotency_key_that_somebody_overwrote_is_forgotten(
    server: RunningRedis, prefix: str, kept: str
) -> None:
    async with running(server.url, prefix) as store:
        await store.append("s", message(1), Dedupe("k", b"f"))
        (key,) = server.call("KEYS", f"{{{prefix}:stream:s}}:once:*")  # type: ignore[misc]
        server.call("SET", str(key), kept)
        assert await store.append("s", message(2), Dedupe("k", b"f")) == Appended("2", 2)
        assert (await store.append("s", message(3), Dedupe("k", b"f"))).repeated


@pytest.mark.parametrize(
    ("field", "value"),
    [("epoch", "?"), ("epoch", "9" * 300 + "-x"), ("last", "nan"), ("time", "inf"), ("total", "x")],
)
async def test_figures_that_somebody_overwrote_are_put_right(
    server: RunningRedis, prefix: str, field: str, value: str
) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, 1, 2)
        server.call("HSET", f"{{{prefix}:stream:s}}:meta", field, value)
        assert await fill(store, 3) == [Appended("3", 3)]
        assert labels(await page_of(store)) == ["1", "2", "3"]


async def test_what_is_announced_by_others_ends_nothing(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        reading = asyncio.create_task(store.read("s", 0, messages=1, wait=60))
        channel = f"{{{prefix}:stream:s}}:news"
        await until(lambda: str(server.call("PUBSUB", "NUMSUB", channel)).endswith("1]"))
        for content in ("", "x", "1-a x", "1-a " + "9" * 5000, "\udcff 1"):
            server.call("PUBLISH", channel, content.encode(errors="surrogateescape"))  # type: ignore[arg-type]
        await fill(store, 1)
        assert labels(await reading) == ["1"]


def dump(server: RunningRedis, key: str) -> str:
    """Copy a key aside, whatever it is."""
    server.call("COPY", key, f"{key}:copy", "REPLACE")
    return f"{key}:copy"


def restore(server: RunningRedis, key: str, copy: str) -> None:
    server.call("COPY", copy, key, "REPLACE")


# What Redis refuses


async def test_a_full_redis_keeps_nothing_and_takes_again_when_there_is_room(
    server: RunningRedis, prefix: str
) -> None:
    async with running(server.url, prefix) as store:
        await fill(store, "before")
        server.call("CONFIG", "SET", "maxmemory", "1mb")
        answers = await asyncio.gather(
            *(store.append("s", message(number)) for number in range(3)), return_exceptions=True
        )
        assert {type(each) for each in answers} == {StoreFull}
        assert labels(await page_of(store)) == ["before"]
        server.call("CONFIG", "SET", "maxmemory", "0")
        assert await fill(store, "after") == [Appended("after", 2)]
        assert store.statistics().failed == 3


async def test_a_server_that_is_no_master_keeps_nothing(server: RunningRedis, prefix: str) -> None:
    async with (
        running(server.url, prefix) as store,
        running(server.url, prefix, timeout=TIMEOUT) as impatient,
    ):
        await fill(store, "before")
        server.call("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(StreamUnavailable):
                await impatient.append("s", message("lost"))
        finally:
            server.call("REPLICAOF", "NO", "ONE")
        await until(lambda: store.available and impatient.available)
        assert await fill(store, "after") == [Appended("after", 2)]


async def test_a_log_of_another_type_is_refused(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        server.call("SET", f"{{{prefix}:stream:s}}:log", "x")
        with pytest.raises(StreamUnavailable, match="WRONGTYPE"):
            await store.append("s", message(1))
        with pytest.raises(StreamUnavailable, match="WRONGTYPE"):
            await store.bounds("s")
        server.call("DEL", f"{{{prefix}:stream:s}}:log")
        await fill(store, 1)


async def test_scripts_that_the_server_forgets_are_sent_again(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        for number in range(1, 4):
            server.call("SCRIPT", "FLUSH")
            assert await fill(store, number) == [Appended(str(number), number)]
        assert labels(await page_of(store)) == ["1", "2", "3"]


async def test_without_enough_replicas_nothing_is_confirmed(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix, replicas=1, timeout=TIMEOUT) as store:
        told = ""
        async with asyncio.timeout(HANG_SECONDS):
            # It is told as away where the machine stands still for so long.
            while "may have been kept" not in told:
                with pytest.raises(StreamUnavailable) as refusal:
                    await store.append("s", message(1), Dedupe("k", b"f"))
                told = str(refusal.value)
    async with running(server.url, prefix) as store:
        again = await store.append("s", message(2), Dedupe("k", b"f"))
        assert again == Appended("1", 1, repeated=True)


async def test_with_enough_replicas_it_is(server: RunningRedis, prefix: str, tmp_path: Path) -> None:
    with redis_servers(tmp_path, ()) as (replica,):
        server.call("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        replica.call("REPLICAOF", "127.0.0.1", str(server.port))
        async with running(server.url, prefix, replicas=1) as store:
            await until(lambda: "'online'" in str(server.call("INFO", "replication")))
            await fill(store, *range(10))
            assert replica.call("XLEN", f"{{{prefix}:stream:s}}:log") == 10


async def test_a_redis_that_may_throw_streams_away_is_warned_of(
    server: RunningRedis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with caplog.at_level(logging.WARNING, "gateway.streams"):
        async with running(server.url, prefix) as store:
            assert store.evicting == "allkeys-lru"
    assert "maxmemory-policy is allkeys-lru" in caplog.text
    server.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    async with running(server.url, prefix) as store:
        assert store.evicting is None


# What waits


async def test_a_reader_hears_what_another_node_appends(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as reader, running(server.url, prefix) as writer:
        for number in range(1, 21):
            reading = asyncio.create_task(reader.read("s", number - 1, messages=10, wait=60))
            await fill(writer, number)
            async with asyncio.timeout(HANG_SECONDS):
                assert labels(await reading) == [str(number)]


async def test_a_reader_hears_it_although_its_connections_are_cut(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as reader, running(server.url, prefix) as writer:
        for number in range(1, 6):
            reading = asyncio.create_task(reader.read("s", number - 1, messages=10, wait=60))
            server.call("CLIENT", "KILL", "TYPE", "pubsub")
            server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            async with asyncio.timeout(HANG_SECONDS):
                while True:
                    try:
                        await writer.append("s", message(number), Dedupe(str(number), b"f"))
                    except StreamUnavailable:
                        continue
                    break
                try:
                    page = await reading
                except StreamUnavailable:
                    page = await page_of(reader, number - 1)
            assert labels(page) == [str(number)]
        assert (await page_of(reader)).bounds.last == 5


async def test_a_hundred_readers_take_no_more_connections(server: RunningRedis, prefix: str) -> None:
    names = [StreamConfiguration(f"s{number}", f"s{number}/#") for number in range(100)]
    async with asyncio.timeout(HANG_SECONDS):
        while await connections(server) > 1:  # noqa: ASYNC110 - those of earlier tests; one is our own
            await asyncio.sleep(0.01)
    async with running(server.url, prefix, *names) as store:
        readers = [asyncio.create_task(store.read(each.name, 0, messages=10, wait=60)) for each in names]
        for each in names:
            await store.append(each.name, message(each.name))
        async with asyncio.timeout(HANG_SECONDS):
            pages = await asyncio.gather(*readers)
        assert [labels(page) for page in pages] == [[each.name] for each in names]
        assert await connections(server) == 1 + 3


async def test_more_than_may_wait_is_refused(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix, waiting_messages=3) as store:
        waiting = [store.append("s", message(number)) for number in range(3)]
        with pytest.raises(RateLimited):
            store.append("s", message(4))
        await asyncio.gather(*waiting)
        await fill(store, 4)
    async with running(server.url, prefix, waiting_bytes=100) as store:
        waiting = [store.append("s", message(1)) for _ in range(4)]
        with pytest.raises(RateLimited):
            store.append("s", message("x" * 60))
        assert store.statistics().waiting_bytes <= 100
        await asyncio.gather(*waiting)


async def test_a_batch_larger_than_one_call_keeps_its_order(server: RunningRedis, prefix: str) -> None:
    async with running(server.url, prefix) as store:
        answers = await fill(store, *range(2000))
        assert [each.offset for each in answers] == list(range(1, 2001))
        assert labels(await page_of(store)) == [str(number) for number in range(2000)]


async def test_a_bound_that_was_lowered_is_reached_in_steps(server: RunningRedis, prefix: str) -> None:
    # Ten thousand at once take a busy machine longer than a publisher would wait.
    async with running(server.url, prefix, StreamConfiguration("s", "s/#"), timeout=20.0) as store:
        for first in range(0, 50_000, 10_000):
            await fill(store, *range(first, first + 10_000))
    async with running(server.url, prefix, StreamConfiguration("s", "s/#", max_messages=10)) as store:
        await fill(store, "last")
        await asyncio.wait_for(first_offset(store, 49_992), HANG_SECONDS)


async def first_offset(store: RedisStore, wanted: int) -> None:
    while (await store.bounds("s")).first != wanted:
        pass
