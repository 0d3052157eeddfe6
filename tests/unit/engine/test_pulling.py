from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.auth.grants import EVERYTHING, NOTHING
from gateway.engine.pulling import _ANSWER_BYTES
from gateway.errors import NotFound, NotPermitted, StreamUnavailable, TooMany

from .groups_world import GROUP, groups_node, in_virtual_time

if TYPE_CHECKING:
    from gateway.core.messages.events import Delivery

    from .groups_world import GroupsNode


async def pull(node: GroupsNode, **options: Any) -> list[Delivery]:
    options = {"most": 10, "wait": 0.0, "asker": "ann", "grants": EVERYTHING} | options
    return await node.puller.pull("s", "g", **options)


def offsets(found: list[Delivery]) -> list[int | None]:
    return [each.publication.offset for each in found]


@in_virtual_time
async def test_what_is_there_is_given_at_once_and_no_more_than_is_asked_for() -> None:
    async with groups_node() as node:
        assert await pull(node) == []
        await node.publish(100)
        assert offsets(await pull(node, most=3)) == [1, 2, 3]
        assert offsets(await pull(node, most=70, wait=5)) == list(range(4, 74))
        assert (await node.figures()).in_flight == 73
        assert node.groups.counts["s", "g"].delivered == 73


@in_virtual_time
async def test_an_answer_is_bounded_in_bytes() -> None:
    async with groups_node() as node:
        body = b'"%b"' % (b"x" * (_ANSWER_BYTES // 40))
        await node.publish(200, data=body)
        found = await pull(node, most=200)
        assert 40 <= len(found) <= 72
        assert (await node.figures()).in_flight == len(found)


@in_virtual_time
async def test_who_waits_is_answered_as_soon_as_there_is_something() -> None:
    async with groups_node() as node:
        waiting = asyncio.create_task(pull(node, wait=30))
        await asyncio.sleep(10)
        assert not waiting.done()
        await node.publish()
        assert waiting.done()
        (delivery,) = await waiting
        assert await node.ack(delivery.token) == ((delivery.token,), ())


@in_virtual_time
async def test_who_waits_is_answered_when_a_delay_or_a_lease_ends() -> None:
    async with groups_node() as node:
        await node.publish(delay=5_000)
        began = node.clock()
        (first,) = await pull(node, wait=30)
        assert node.clock() - began == pytest.approx(5_000, abs=50)
        (second,) = await pull(node, wait=30)
        assert node.clock() - began == pytest.approx(16_000, abs=100), "the lease, and the backoff behind it"
        assert (first.attempt, second.attempt) == (1, 2)


@in_virtual_time
async def test_a_wait_ends_empty_when_its_time_is_over() -> None:
    async with groups_node() as node:
        began = node.clock()
        assert await pull(node, wait=3) == []
        assert node.clock() - began == pytest.approx(3_000, abs=20)


@in_virtual_time
async def test_room_that_an_answer_makes_is_told_to_who_waits() -> None:
    async with groups_node(replace(GROUP, max_in_flight=1)) as node:
        await node.publish(2)
        (first,) = await pull(node)
        waiting = asyncio.create_task(pull(node, wait=30))
        await node.quiet()
        assert not waiting.done()
        await node.ack(first.token)
        assert waiting.done(), "at once, and not when some other lease would have run out"
        assert offsets(await waiting) == [2]


@in_virtual_time
async def test_sockets_and_pulls_are_members_of_one_group() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume(credit=2)
        await node.publish(5)
        found = await pull(node)
        assert (member.offsets(), offsets(found)) == ([1, 2], [3, 4, 5])
        # A token is good at every door.
        await node.ack(*(each.token for each in found), *member.tokens())
        assert (await node.figures()).depth == 0


@in_virtual_time
async def test_what_nobody_waits_for_any_more_goes_back() -> None:
    async with groups_node() as node:
        taking = node.store.groups.take
        go_on = asyncio.Event()

        async def take(*arguments: Any) -> Any:
            await go_on.wait()
            return await taking(*arguments)

        node.store.groups.take = take  # type: ignore[method-assign]  # slowed down
        await node.publish(50)
        asked = asyncio.create_task(pull(node, most=50))
        await node.quiet()
        asked.cancel()
        await asyncio.wait([asked])
        go_on.set()
        await node.quiet()
        figures = await node.figures()
        assert (figures.in_flight, figures.depth) == (0, 50)
        assert {each.attempt for each in await pull(node, most=50)} == {1}


@in_virtual_time
async def test_what_was_leased_before_a_failure_goes_back() -> None:
    async with groups_node() as node:
        taking = node.store.groups.take
        calls = 0

        async def take(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise StreamUnavailable("away")
            return await taking(*arguments)

        node.store.groups.take = take  # type: ignore[method-assign]  # made to fail
        await node.publish(50)
        with pytest.raises(StreamUnavailable):
            await pull(node, most=50)
        await node.quiet()
        assert (await node.figures()).in_flight == 0


@in_virtual_time
async def test_the_node_ends_and_nobody_waits_any_longer() -> None:
    async with groups_node() as node:
        waiting = asyncio.create_task(pull(node, wait=30))
        await node.quiet()
        node.puller.end()
        await node.quiet()
        assert waiting.done()
        assert await waiting == []
        assert await pull(node, wait=30) == []


@in_virtual_time
async def test_nobody_takes_all_places_to_wait_in() -> None:
    async with groups_node() as node:
        waiting = [asyncio.create_task(pull(node, wait=30)) for _ in range(2)]
        await node.quiet()
        with pytest.raises(TooMany):
            await pull(node, wait=30)
        other = asyncio.create_task(pull(node, wait=30, asker="bob"))
        await node.quiet()
        assert not other.done()
        assert await pull(node) == [], "who doesn't wait needs no place"
        assert node.refusals.statistics()["long_polls"] == 1
        await asyncio.wait([*waiting, other])
        assert (await pull(node, wait=0.1), node.puller._waiting) == ([], {})


@in_virtual_time
async def test_a_group_needs_a_grant_and_must_be_there() -> None:
    async with groups_node() as node:
        with pytest.raises(NotPermitted):
            await pull(node, grants=NOTHING)
        waiting = asyncio.create_task(pull(node, wait=30))
        await node.quiet()
        await node.administration.delete("s", "g")
        for wait in (0, 5):
            with pytest.raises(NotFound):
                await pull(node, wait=wait)
        with pytest.raises(NotFound):
            await waiting


@in_virtual_time
async def test_nothing_is_watched_of_a_name_that_no_group_bears() -> None:
    async with groups_node() as node:
        watched: list[str] = []
        watch = node.store.groups.watch
        node.store.groups.watch = lambda stream, group, wake: (  # type: ignore[method-assign]
            watched.append(group) or watch(stream, group, wake)  # type: ignore[func-returns-value]
        )
        with pytest.raises(NotFound):
            await node.puller.pull("s", "x", EVERYTHING, most=1, wait=5, asker="ann")
        assert watched == []
        assert await pull(node, wait=5) == []
        assert watched == ["g"]
