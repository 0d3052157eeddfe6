from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import Bounds
from gateway.core.timing.backoff import Backoff
from gateway.engine.following import tailing
from gateway.errors import StreamUnavailable
from tests.patience import HANG_SECONDS
from tests.unit.engine.following_world import until, world

if TYPE_CHECKING:
    from gateway.core.streams.configuration import Page
    from tests.unit.engine.following_world import World


async def test_a_tail_gives_the_hub_what_the_log_brings_and_keeps_the_newest() -> None:
    async with world(window_messages=4) as node:
        client = node.client()
        await client.subscribe("s/#")
        node.append(30)
        assert await client.ids(30) == [f"s{number}" for number in range(1, 31)]
        (path,) = node.following.tails.streams("s/a")
        assert (path.tail.last, len(path.tail)) == (30, 4)


async def test_a_log_trimmed_past_the_tail_is_told_and_gone_on_from() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.store.away = True
        node.append(9)
        node.store.logs["s"].trim(6)
        node.store.away = False
        assert await client.ids(3) == ["s7", "s8", "s9"]
        assert [(gap["reason"], gap["from"], gap["to"], gap["dropped"]) for gap in client.other()] == [
            ("trimmed", 1, 6, 6)
        ]
        assert node.following.tails.statistics().interrupted == 1
        node.append(1)
        await client.ids(4)
        assert node.hub.statistics().spilled == 0


async def test_a_log_trimmed_to_nothing_past_the_tail_is_told_too() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.store.away = True
        node.append(9)
        node.store.logs["s"].trim(9)
        node.store.away = False
        await client.until(client.other)
        assert [(gap["from"], gap["to"]) for gap in client.other()] == [(1, 9)]


async def test_a_hole_is_told_where_it_lies_to_who_is_live_and_passed() -> None:
    async with world() as node:
        client, other = node.client(), node.client()
        await client.subscribe("s/#")
        await other.subscribe("s/a")
        node.store.away = True
        node.append(9)
        for offset in (3, 4, 7):
            node.store.logs["s"].remove(offset)
        node.store.away = False
        assert await client.ids(6) == ["s1", "s2", "s5", "s6", "s8", "s9"]
        told = [(each["op"], each.get("offset", each.get("from")), each.get("to")) for each in client.frames]
        assert told == [
            ("message", 1, None),
            ("message", 2, None),
            ("gap", 3, 4),
            ("message", 5, None),
            ("message", 6, None),
            ("gap", 7, 7),
            ("message", 8, None),
            ("message", 9, None),
        ]
        assert [(gap["reason"], gap["filter"], gap["dropped"]) for gap in client.other()] == [
            ("trimmed", "s/#", 2),
            ("trimmed", "s/#", 1),
        ]
        assert await other.ids(6) == await client.ids(6)
        assert [gap["dropped"] for gap in other.other()] == [None, None]
        node.append(1)
        assert (await client.ids(7))[-1] == "s10"
        assert node.hub.statistics().spilled == 0


async def test_the_newest_that_is_missing_is_told_at_once() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.store.away = True
        node.append(3)
        node.store.logs["s"].remove(3)
        node.store.away = False
        await client.until(client.other)
        assert await client.ids(2) == ["s1", "s2"]
        assert [(gap["from"], gap["to"]) for gap in client.other()] == [(3, 3)]
        node.append(1)
        assert (await client.ids(3))[-1] == "s4"
        assert node.hub.statistics().spilled == 0


async def test_those_who_ask_for_bounds_at_once_share_the_answer() -> None:
    async with world() as node:
        tails, calls = node.following.tails, 0
        ask = node.store.bounds

        async def counted(stream: str) -> Bounds:
            nonlocal calls
            calls += 1
            return await ask(stream)

        node.store.bounds = counted
        (path,) = tails.streams("s")
        answers = await asyncio.gather(*(tails.bounds(path) for _ in range(5)))
        assert (len(set(answers)), calls) == (1, 1)
        node.store.away = True
        with pytest.raises(StreamUnavailable):
            await tails.bounds(path)


async def test_what_anyone_read_of_the_end_counts_as_seen() -> None:
    async with world() as node:
        await node.client().subscribe("s/#")
        (path,) = node.following.tails.streams("s/#")
        node.following.tails.note_bounds(path, Bounds("s1", 1, 5))
        node.following.tails.note_bounds(path, Bounds("other", 1, 50))
        node.append(1)
        await until(lambda: path.tail.epoch == "s2")
        # Nothing was seen of the first life that could be compared.
        assert path.tail.former == {"s1": None}


async def lose(node: World, last: int) -> None:
    """A replica that was behind takes over, while the node can't look."""
    node.store.away = True
    node.store.notify()
    log = node.store.logs["s"]
    log.lose_end(log.last - last)
    log.begin_again()


async def test_who_is_live_goes_on_where_the_lives_part() -> None:
    async with world() as node:
        live, spilled, reading = node.client(), node.client(), node.client()
        await live.subscribe("s/#")
        await spilled.subscribe("s/#")
        node.append(20)
        await live.ids(20)
        await spilled.ids(20)
        node.hub.block(spilled.outbox, 0, now=0.0)
        await lose(node, 17)
        node.store.away = False
        for number in (18, 19):
            node.store.logs["s"].append(Publication("s/a", f"new{number}", time=number))
        node.store.notify()
        assert (await live.ids(22))[20:] == ["new18", "new19"]
        assert [(each["reason"], each["epoch"], each["offset"]) for each in live.other()] == [
            ("epoch", "s2", 17)
        ]
        node.delivery.resume(spilled.outbox)
        assert (await spilled.ids(22))[20:] == ["new18", "new19"]
        assert spilled.other() == live.other()
        # What the gap told is good for coming back with.
        position = {"s": Position("s2", 17)}
        assert (await reading.subscribe("s/#", resume=position))["recovered"] is True
        assert await reading.ids(2) == ["new18", "new19"]
        node.append(1)
        assert (await live.ids(23))[-1] == "s20"
        assert node.hub.statistics().spilled == 0


async def test_one_failover_after_the_other_repeats_nothing() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.append(20)
        await client.ids(20)
        for number, last in enumerate((19, 18, 18)):
            await lose(node, last)
            node.store.away = False
            node.store.logs["s"].append(Publication("s/a", f"new{number}", time=20))
            node.store.notify()
            assert (await client.ids(21 + number))[-1] == f"new{number}"
        assert [(each["epoch"], each["offset"]) for each in client.other()] == [
            ("s2", 19),
            ("s3", 18),
            ("s4", 18),
        ]


async def test_where_the_lives_part_too_far_back_reading_begins_with_the_first_there_is() -> None:
    async with world(window_messages=4) as node:
        client = node.client()
        await client.subscribe("s/#")
        node.append(20)
        await client.ids(20)
        await lose(node, 15)
        node.store.away = False
        node.store.notify()
        assert (await client.ids(35))[20:] == [f"s{number}" for number in range(1, 16)]
        assert [each["offset"] for each in client.other()] == [0]


async def test_a_store_that_goes_away_while_lives_are_compared_is_asked_again() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.append(20)
        await client.ids(20)
        read, asked = node.store.read, []

        async def failing_once(stream: str, after: int, **options: Any) -> Page:
            asked.append(after)
            if asked.count(after) == 1 and after < 17:
                raise StreamUnavailable("away")
            return await read(stream, after, **options)

        await lose(node, 17)
        node.store.read, node.store.away = failing_once, False
        node.store.logs["s"].append(Publication("s/a", "new", time=18))
        node.store.notify()
        assert (await client.ids(21))[-1] == "new"
        assert [each["offset"] for each in client.other()] == [17]
        assert asked.count(0) >= 2


async def test_a_failing_tail_is_counted() -> None:
    async with world("s", "t") as node:
        client = node.client()
        await client.subscribe("#")
        node.store.away = True
        node.store.notify()
        await client.until(lambda: node.following.tails.statistics().failing == 2)
        assert node.following.tails.statistics().followed == 2
        node.store.away = False
        await client.until(lambda: node.following.tails.statistics().failing == 0)


async def test_who_subscribes_after_a_failure_has_the_tail_read_now_and_gets_what_it_found() -> None:
    async with world() as node:
        await node.client().subscribe("s/#")
        attempts: list[str] = []
        read = node.store.read

        async def counted(stream: str, *arguments: Any, **options: Any) -> Page:
            attempts.append(stream)
            return await read(stream, *arguments, **options)

        node.store.read, node.store.away = counted, True
        with patch.object(tailing, "_AFTER_FAILURE", Backoff(first_seconds=HANG_SECONDS, random=lambda: 1.0)):
            node.store.notify()
            await until(lambda: node.following.tails.failing("s"))
            before = len(attempts)
            with pytest.raises(StreamUnavailable):
                await node.client().subscribe("s/#")
            assert len(attempts) > before
            node.store.away = False
            await node.client().subscribe("s/#")
        assert not node.following.tails.failing("s")


async def test_a_tail_whose_task_fails_goes_on_where_it_was() -> None:
    async with world("s", "t") as node:
        client = node.client()
        await client.subscribe("#")
        await until(lambda: node.following.tails.statistics().followed == 2)
        read, failures = node.store.read, 1

        async def failing(stream: str, *arguments: Any, **options: Any) -> Page:
            nonlocal failures
            if stream == "s" and failures:
                failures -= 1
                raise ZeroDivisionError
            return await read(stream, *arguments, **options)

        node.store.read = failing
        node.append(3)
        node.append(2, "t/a")
        assert sorted(await client.ids(5)) == ["s1", "s2", "s3", "t1", "t2"]
        assert client.other() == []
        await until(lambda: not failures)
        node.append(1)
        await client.ids(6)
        assert node.following.background.supervision.statistics() == {"tail": 1}


async def test_a_tail_that_cannot_begin_for_an_unknown_reason_is_unavailable_and_begins_later() -> None:
    async with world() as node:
        ask = node.store.bounds

        async def failing(stream: str) -> Bounds:
            raise ZeroDivisionError

        node.store.bounds = failing
        (path,) = node.following.tails.streams("s/a")
        with pytest.raises(StreamUnavailable):
            await node.following.tails.started((path,))
        node.store.bounds = ask
        await node.client().subscribe("s/#")
        assert node.following.background.supervision.statistics() == {"background": 1}
