from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from gateway.auth.grants import EVERYTHING
from gateway.core.groups.configuration import MOST_GROUPS, GroupConfiguration
from gateway.core.messages.publication import Publication
from gateway.engine.group_administration import MOST_SEARCHED, ChosenLetters, ConfiguredGroups, Progress
from gateway.errors import BadFilter, NotFound, StreamUnavailable, TooMany

from .groups_world import GROUP, GroupsNode, groups_node, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.messages.events import Delivery
    from gateway.streams.groups.base import GroupStatistics


@in_virtual_time
async def test_a_group_is_made_changed_described_and_removed() -> None:
    async with groups_node() as node:
        administration = node.administration
        assert await administration.put("t", GROUP)
        changed = replace(GROUP, ack_wait=5.0)
        assert not await administration.put("t", changed)
        facts = await administration.describe("t", "g")
        assert (facts.stream, facts.configuration, facts.statistics.depth) == ("t", changed, 0)
        assert await administration.put("t", GroupConfiguration("a"))
        assert [each.configuration.name for each in await administration.describe_all("t", EVERYTHING)] == [
            "a",
            "g",
        ]
        assert await administration.names("t") == ["a", "g"]
        await administration.delete("t", "g")
        assert await administration.names("t") == ["a"]
        with pytest.raises(NotFound):
            await administration.describe("t", "g")


@in_virtual_time
async def test_what_is_not_there_is_not_found() -> None:
    async with groups_node() as node:
        administration = node.administration
        for wanted in (
            administration.names("u"),
            administration.describe_all("u", EVERYTHING),
            administration.put("u", GROUP),
            administration.delete("s", "h"),
            administration.explain("s", "h", 1),
            administration.browse("s", "h", None, after=0, limit=1),
            administration.dead_letters("s", "h", after=None, limit=1),
            administration.redrive("s", "h", ChosenLetters(), dry_run=True),
            administration.discard("s", "h", ChosenLetters(), dry_run=True),
            administration.pause("s", "h", paused=True),
        ):
            with pytest.raises(NotFound):
                await wanted


@pytest.mark.parametrize("wrong", ["t/#", "s/" * 200, "s/#/a"])
@in_virtual_time
async def test_a_filter_must_match_something_within_the_limits(wrong: str) -> None:
    async with groups_node() as node:
        with pytest.raises(BadFilter):
            await node.administration.put("s", replace(GROUP, filter=wrong))


@in_virtual_time
async def test_a_stream_has_no_more_groups_than_it_may() -> None:
    async with groups_node() as node:
        for number in range(MOST_GROUPS - 1):
            await node.administration.put("s", GroupConfiguration(f"n{number}"))
        with pytest.raises(TooMany):
            await node.administration.put("s", GroupConfiguration("more"))
        assert not await node.administration.put("s", replace(GROUP, ack_wait=1.0)), "that is no new one"


@in_virtual_time
async def test_dead_letters_are_chosen_by_id_by_filter_or_all() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        for topic in ("s/a", "s/b", "s/b"):
            await node.publish(topic=topic)
        await node.nack(*member.tokens(), dead=True)
        administration = node.administration
        letters, following = await administration.dead_letters("s", "g", after=None, limit=2)
        assert ([each.publication.topic for each in letters], following is not None) == (["s/b", "s/b"], True)
        count = await administration.redrive("s", "g", ChosenLetters(topic_filter="s/b"), dry_run=True)
        assert (count, (await node.figures()).dead) == (2, 3)
        assert await administration.redrive("s", "g", ChosenLetters([letters[0].id])) == 1
        await node.quiet()
        assert member.deliveries()[-1]["attempt"] == 1
        assert await administration.discard("s", "g", ChosenLetters()) == 2
        assert (await node.figures()).dead == 0
        with pytest.raises(BadFilter):
            await administration.discard("s", "g", ChosenLetters(topic_filter="s/#/a"))


async def dead(node: GroupsNode, count: int) -> None:
    """So many dead letters, of which every third is about apples."""
    for number in range(count):
        fruit = "Apple" if number % 3 == 0 else "pear"
        await node.store.append("s", Publication(f"s/{number}", "m", 0, f'"{fruit} {number}"'.encode()))
    given = (await node.store.groups.take("s", "g", ["m"] * count)).deliveries
    await node.store.groups.reject("s", "g", [each.lease for each in given], dead=True)


@in_virtual_time
async def test_dead_letters_are_found_by_what_they_hold() -> None:
    async with groups_node() as node:
        await dead(node, 9)
        administration = node.administration

        async def find(after: str | None = None, limit: int = 9, **how: str) -> tuple[list[str], str | None]:
            found, following = await administration.dead_letters("s", "g", after=after, limit=limit, **how)
            return [each.publication.topic for each in found], following

        assert await find(contains="apple") == (["s/6", "s/3", "s/0"], None)
        assert await find(contains="S/4") == (["s/4"], None)
        assert await find(contains="apple", topic_filter="s/3") == (["s/3"], None)
        assert await find(contains="plum") == ([], None)
        first, following = await find(contains="apple", limit=2)
        assert (first, following is not None) == (["s/6", "s/3"], True)
        assert await find(following, contains="apple") == (["s/0"], None)
        chosen = ChosenLetters(contains="apple")
        assert await administration.redrive("s", "g", chosen, dry_run=True) == 3
        assert await administration.discard("s", "g", chosen) == 3
        assert await find(contains="apple") == ([], None)
        assert (await node.figures()).dead == 6


@in_virtual_time
async def test_a_search_ends_after_so_many_and_says_where_to_go_on() -> None:
    async with groups_node() as node:
        await dead(node, MOST_SEARCHED + 3)
        found, following = await node.administration.dead_letters(
            "s", "g", after=None, limit=9, contains='"apple 0"'
        )
        assert (found, following is not None) == ([], True)
        found, following = await node.administration.dead_letters(
            "s", "g", after=following, limit=9, contains='"apple 0"'
        )
        assert ([each.publication.topic for each in found], following) == (["s/0"], None)


@in_virtual_time
async def test_a_long_search_lets_others_have_their_turns() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with groups_node() as node, anyio.create_task_group() as tasks:
        await dead(node, 1_000)
        tasks.start_soon(others)
        before = turns
        await node.administration.redrive("s", "g", ChosenLetters(contains="plum"), dry_run=True)
        assert turns - before >= 3
        before = turns
        await node.administration.dead_letters("s", "g", after=None, limit=9, contains="plum")
        assert turns - before >= 3
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_clearing_many_tells_how_far_it_has_come_and_can_be_left() -> None:
    async with groups_node() as node:
        await dead(node, 450)
        administration = node.administration
        steps = [
            each async for each in administration.discard_steps("s", "g", ChosenLetters(contains="apple"))
        ]
        assert (steps[0], steps[-1]) == (Progress(0, 150), Progress(150, 150))
        assert len(steps) == 2
        assert (await node.figures()).dead == 300
        going = administration.redrive_steps("s", "g", ChosenLetters())
        assert await anext(going) == Progress(0, 300)
        assert await anext(going) == Progress(200, 300)
        await going.aclose()
        assert (await node.figures()).dead == 100
        steps = [each async for each in administration.redrive_steps("s", "g", ChosenLetters(["nobody"]))]
        assert steps[-1].done == 0


@in_virtual_time
@pytest.mark.parametrize("told", [False, True])
async def test_many_are_sent_back_in_the_order_of_their_keys(told: bool) -> None:
    async with groups_node(replace(GROUP, max_deliver=1, ordered_by_key=True)) as node:
        # More than one step.
        await node.publish(210, key="k", data=b'"apple"')

        async def given() -> AsyncIterator[Delivery]:
            while found := await node.puller.pull("s", "g", EVERYTHING, most=9, wait=0, asker="ann"):
                yield found[0]

        async for each in given():
            await node.nack(each.token)
        chosen = ChosenLetters(contains="apple")
        if told:
            steps = [each async for each in node.administration.redrive_steps("s", "g", chosen)]
            assert steps[-1] == Progress(210, 210)
        else:
            assert await node.administration.redrive("s", "g", chosen) == 210
        order: list[int | None] = []
        async for each in given():
            order.append(each.publication.offset)
            await node.ack(each.token)
        assert order == list(range(1, 211))


@in_virtual_time
async def test_a_group_stays_paused_whoever_configures_it() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        administration = node.administration
        assert (await administration.pause("s", "g", paused=True)).configuration.paused
        await node.publish(topic="s/a")
        await administration.put("s", replace(GROUP, ack_wait=7.0))
        await ConfiguredGroups([("s", GROUP)]).make(node.store)
        await node.quiet()
        assert not member.deliveries()
        facts = await administration.describe("s", "g")
        assert (facts.configuration.paused, facts.statistics.depth) == (True, 1)
        assert not (await administration.pause("s", "g", paused=False)).configuration.paused
        await node.quiet()
        assert len(member.deliveries()) == 1


@in_virtual_time
async def test_configured_groups_are_made_however_long_the_store_is_away() -> None:
    async with groups_node() as node:
        store = node.store.groups
        put, away = store.put, True

        async def put_or_fail(stream: str, configuration: GroupConfiguration) -> bool:
            if away and configuration.name == "second":
                raise StreamUnavailable("away")
            return await put(stream, configuration)

        store.put = put_or_fail  # type: ignore[method-assign]  # made to fail
        configured = ConfiguredGroups(
            [("t", GroupConfiguration("first")), ("t", GroupConfiguration("second"))]
        )
        with pytest.raises(StreamUnavailable):
            await configured.make(node.store)
        making = asyncio.create_task(configured.keep_making(node.store))
        await asyncio.sleep(60)
        assert await node.administration.names("t") == ["first"]
        away = False
        await making
        assert await node.administration.names("t") == ["first", "second"]
        await configured.keep_making(node.store)


@in_virtual_time
async def test_metrics_show_what_was_found_last_and_forget_groups_that_are_gone() -> None:
    async with groups_node() as node:
        administration = node.administration
        member = node.member()
        await member.consume()
        await node.publish(2)
        await administration.refresh()
        assert administration.latest()["s", "g"].in_flight == 2
        await node.publish()
        await administration.refresh()
        assert administration.latest()["s", "g"].in_flight == 2, "it was looked at a moment ago"
        node.now = lambda: 10_000.0
        administration._clock = node.now
        figures = node.store.groups.figures

        async def fail(_stream: str, _group: str) -> GroupStatistics:
            raise StreamUnavailable("away")

        node.store.groups.figures = fail  # type: ignore[method-assign]  # made to fail
        await administration.refresh()
        assert administration.latest()["s", "g"].in_flight == 2
        node.store.groups.figures = figures  # type: ignore[method-assign]  # as it was
        await administration.delete("s", "g")
        administration._clock = lambda: 20_000.0
        await administration.refresh()
        assert (administration.latest(), administration.counts()) == ({}, {})


@in_virtual_time
async def test_all_groups_have_their_turn_in_metrics_however_long_that_takes() -> None:
    async with groups_node() as node:
        store, administration = node.store.groups, node.administration
        for number in range(7):
            await store.put("t", GroupConfiguration(f"n{number}"))
        figures = store.figures

        async def slowly(stream: str, group: str) -> GroupStatistics:
            await asyncio.sleep(0.3)
            return await figures(stream, group)

        store.figures = slowly  # type: ignore[method-assign]  # made slow
        for look in range(4):
            administration._clock = lambda look=look: look * 10.0  # type: ignore[misc]  # as late as that
            await administration.refresh()
        assert len(administration.latest()) == 8
        await administration.delete("t", "n3")
        for look in range(4, 9):
            administration._clock = lambda look=look: look * 10.0  # type: ignore[misc]  # as late as that
            await administration.refresh()
        assert len(administration.latest()) == 7
