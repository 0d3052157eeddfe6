"""What a subscription to streams is answered, and what it gets then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth.grants import EVERYTHING, NOTHING
from gateway.core.cluster.control import ForgetStream
from gateway.core.messages.commands import START_SNAPSHOT, Position, Start, StartKind, Subscribe
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import Bounds
from gateway.core.topics.grammar import matches
from gateway.errors import BadCommand, NotPermitted, StreamUnavailable, TooMany
from tests.unit.engine.cluster_world import run
from tests.unit.engine.following_world import until, world

EARLIEST = Start(StartKind.EARLIEST)


async def test_new_begins_behind_the_last_offset_and_is_live_at_once() -> None:
    async with world() as node:
        node.append(3)
        client = node.client()
        reply = await client.subscribe("s/#")
        assert reply["positions"] == {"s": {"epoch": "s1", "offset": 3}}
        assert reply["recovered"] is None
        node.append(2)
        assert await client.ids(2) == ["s4", "s5"]
        assert client.other() == []
        assert "filter" not in client.messages()[0]


async def test_a_stream_that_is_followed_answers_at_once() -> None:
    async with world() as node:
        await node.client().subscribe("s/#")
        command = Subscribe("s/a")
        assert isinstance(node.subscriber.subscribe(node.client().outbox, command, EVERYTHING), list)


async def test_history_comes_with_its_filter_and_ends_with_caught_up() -> None:
    async with world() as node:
        node.append(20)
        client = node.client()
        reply = await client.subscribe("s/#", EARLIEST)
        assert reply["positions"] == {"s": {"epoch": "s1", "offset": 0}}
        assert await client.ids(20) == [f"s{number}" for number in range(1, 21)]
        await client.until(client.other)
        assert client.other() == [{"op": "caught_up", "filter": "s/#"}]
        assert {frame["filter"] for frame in client.messages()} == {"s/#"}
        node.append(1)
        assert (await client.ids(21))[-1] == "s21"
        assert "filter" not in client.messages()[-1]


@pytest.mark.parametrize(
    ("start", "first"),
    [
        (Start(StartKind.OFFSET, 8), 8),
        (Start(StartKind.LAST, 3), 8),
        (Start(StartKind.TIME, 9), 9),
        (EARLIEST, 1),
    ],
)
async def test_from_says_where_history_begins(start: Start, first: int) -> None:
    async with world() as node:
        node.append(10)
        client = node.client()
        await client.subscribe("s/#", start)
        assert await client.ids(11 - first) == [f"s{number}" for number in range(first, 11)]


async def test_what_a_stream_captured_under_another_filter_is_for_those_whose_own_matches() -> None:
    async with world(window_messages=1) as node:
        log = node.store.logs["s"]
        for topic in ("old/a", "s/a", "old/b", "s/b"):
            log.append(Publication(topic, topic, time=1, data=b"1"))
        client, other = node.client(), node.client(messages=1)
        await client.subscribe("s/#", EARLIEST)
        assert await client.ids(2) == ["s/a", "s/b"]
        await other.subscribe("s/#")
        node.hub.block(other.outbox, 0, now=0.0)
        for topic in ("s/c", "s/d", "old/c", "s/e"):
            log.append(Publication(topic, topic, time=1, data=b"1"))
        node.store.notify()
        await other.until(lambda: node.hub.statistics().spilled == 1)
        node.delivery.resume(other.outbox)
        assert await other.ids(3) == ["s/c", "s/d", "s/e"]


async def test_an_offset_needs_exactly_one_stream() -> None:
    async with world("s", "t") as node:
        for topic_filter in ("#", "live/#"):
            with pytest.raises(BadCommand, match="exactly one stream"):
                await node.client().subscribe(topic_filter, Start(StartKind.OFFSET, 1))


async def test_what_is_resumed_goes_on_where_it_was() -> None:
    async with world("s", "t") as node:
        node.append(9)
        node.append(4, "t/a")
        client = node.client()
        reply = await client.subscribe("#", resume={"s": Position("s1", 7), "t": Position("t1", 4)})
        assert reply["recovered"] is True
        assert reply["positions"] == {"s": {"epoch": "s1", "offset": 7}, "t": {"epoch": "t1", "offset": 4}}
        assert await client.ids(2) == ["s8", "s9"]


async def test_a_position_is_not_judged_by_an_answer_older_than_itself() -> None:
    async with world() as node:
        await node.client().subscribe("s/#")
        ask, answered, asked = node.store.bounds, asyncio.Event(), asyncio.Event()

        async def slow_answer(stream: str) -> Bounds:
            bounds = await ask(stream)
            asked.set()
            await answered.wait()
            return bounds

        node.store.bounds = slow_answer
        earlier, later = node.client(), node.client()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(earlier.subscribe("s/#", EARLIEST))
            await asked.wait()
            # Another node has given it to the client; this node's tail hasn't heard of it yet.
            node.store.logs["s"].append(Publication("s/a", "s1", time=1, data=b"1"))
            reply = tasks.create_task(later.subscribe("s/#", resume={"s": Position("s1", 1)}))
            await asyncio.sleep(0)
            answered.set()
        assert reply.result()["recovered"] is True
        node.append(1)
        assert await later.ids(1) == ["s2"]
        await later.until(later.other)
        assert [frame["op"] for frame in later.other()] == ["caught_up"]


async def test_from_speaks_for_the_streams_that_resume_does_not_name() -> None:
    async with world("s", "t") as node:
        node.append(2)
        node.append(2, "t/a")
        client = node.client()
        await client.subscribe("#", EARLIEST, resume={"s": Position("s1", 1)})
        assert sorted(await client.ids(3)) == ["s2", "t1", "t2"]


async def test_what_was_trimmed_is_not_recovered_and_told_before_the_messages() -> None:
    async with world() as node:
        node.append(9)
        node.store.logs["s"].trim(6)
        client = node.client()
        reply = await client.subscribe("s/#", resume={"s": Position("s1", 2)})
        assert reply["recovered"] is False
        assert reply["positions"] == {"s": {"epoch": "s1", "offset": 6}}
        assert await client.ids(3) == ["s7", "s8", "s9"]
        assert client.frames[0] == {
            "op": "gap",
            "reason": "trimmed",
            "dropped": 4,
            "filter": "s/#",
            "stream": "s",
            "from": 3,
            "to": 6,
        }


@pytest.mark.parametrize("wanted", [Position("s0", 3), Position("s1", 99)])
async def test_a_position_that_means_nothing_begins_with_the_first_there_is(wanted: Position) -> None:
    async with world() as node:
        node.append(5)
        client = node.client()
        reply = await client.subscribe("s/#", resume={"s": wanted})
        assert reply["recovered"] is False
        assert await client.ids(5) == ["s1", "s2", "s3", "s4", "s5"]
        assert client.frames[0]["reason"] == "epoch"
        assert client.frames[0]["epoch"] == "s1"
        # A client's word raises no epoch.
        assert node.store.logs["s"].epoch == "s1"


@pytest.mark.parametrize("named", ["t", "gone"])
async def test_what_is_kept_where_the_filter_does_not_reach_any_more_is_not_recovered(named: str) -> None:
    async with world("s", "t") as node:
        node.append(2)
        resume = {"s": Position("s1", 2), named: Position(f"{named}1", 5)}
        both = await node.client().subscribe("s/#", resume=resume)
        assert (both["recovered"], list(both["positions"])) == (False, ["s"])
        narrowed = await node.client().subscribe("u/#", resume={named: Position(f"{named}1", 5)})
        assert (narrowed["recovered"], narrowed["positions"]) == (False, {})


async def test_a_stream_that_a_position_is_missing_of_is_not_recovered_where_it_holds_something() -> None:
    async with world("s", "t") as node:
        node.append(2)
        empty = await node.client().subscribe("#", resume={"s": Position("s1", 1)})
        assert empty["recovered"] is True
        node.append(1, "t/a")
        left_out = await node.client().subscribe("#", resume={"s": Position("s1", 1)})
        assert left_out["recovered"] is False
        client = node.client()
        given = await client.subscribe("#", EARLIEST, resume={"s": Position("s1", 1)})
        assert given["recovered"] is True
        assert sorted(await client.ids(2)) == ["s2", "t1"]


async def test_caught_up_comes_where_no_stream_is_concerned() -> None:
    async with world() as node:
        client = node.client()
        reply = await client.subscribe("live/#", EARLIEST)
        assert reply["positions"] == {}
        await client.until(client.other)
        assert client.other() == [{"op": "caught_up", "filter": "live/#"}]


async def test_a_store_that_is_away_refuses_and_leaves_nothing_behind() -> None:
    async with world() as node:
        node.store.away = True
        client = node.client()
        with pytest.raises(StreamUnavailable):
            await client.subscribe("s/#")
        assert client.outbox.subscriptions == {}
        assert node.hub.statistics().filters == 0
        node.store.away = False
        assert (await client.subscribe("s/#"))["op"] == "subscribed"


async def test_a_refused_change_leaves_the_subscription_as_it_was() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.store.away = True
        with pytest.raises(StreamUnavailable):
            await client.subscribe("s/#", EARLIEST)
        node.store.away = False
        node.append(1)
        assert await client.ids(1) == ["s1"]


async def test_an_outage_is_only_a_delay() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.store.away = True
        node.append(3)
        await client.until(lambda: node.following.tails._tails["s"].error)
        with pytest.raises(StreamUnavailable):
            await node.client().subscribe("s/a")
        node.store.away = False
        assert await client.ids(3) == ["s1", "s2", "s3"]
        assert client.other() == []


async def test_the_same_filter_again_may_ask_for_history() -> None:
    async with world() as node:
        node.append(2)
        client = node.client()
        await client.subscribe("s/#")
        node.append(1)
        await client.ids(1)
        client.frames.clear()
        await client.subscribe("s/#", EARLIEST)
        assert await client.ids(3) == ["s1", "s2", "s3"]
        node.append(1)
        assert (await client.ids(4))[-1] == "s4"


async def test_a_subscription_that_new_grants_end_is_never_confirmed() -> None:
    async with world() as node:
        client = node.client()
        answer = node.subscriber.subscribe(client.outbox, Subscribe("s/#"), EVERYTHING)
        assert isinstance(answer, asyncio.Future)
        assert await node.subscriber.restrict(client.outbox, NOTHING) == ["s/#"]
        with pytest.raises(NotPermitted):
            await answer
        await asyncio.sleep(0.01)
        assert client.frames == []


async def test_a_connection_that_ends_meanwhile_is_not_answered() -> None:
    async with world() as node:
        client = node.client()
        answer = node.subscriber.subscribe(client.outbox, Subscribe("s/#"), EVERYTHING)
        assert isinstance(answer, asyncio.Future)
        node.subscriber.end(client.outbox)
        with pytest.raises(asyncio.CancelledError):
            await answer
        assert node.hub.statistics().filters == 0


async def test_a_log_found_shorter_than_it_was_begins_a_new_epoch() -> None:
    async with world() as node:
        client = node.client()
        await client.subscribe("s/#")
        node.append(5)
        await client.ids(5)
        node.store.logs["s"].lose_end(2)
        node.store.notify()
        await client.until(client.other)
        assert client.other() == [
            {
                "op": "gap",
                "reason": "epoch",
                "dropped": None,
                "filter": "s/#",
                "stream": "s",
                "epoch": "s2",
                "offset": 3,
            }
        ]
        node.store.logs["s"].append(Publication("s/a", "another", time=4))
        node.store.notify()
        assert await client.ids(6) == ["s1", "s2", "s3", "s4", "s5", "another"]


async def test_a_slow_reader_spills_and_is_live_again() -> None:
    async with world() as node:
        slow, quick = node.client(messages=4), node.client()
        await slow.subscribe("s/#")
        await quick.subscribe("s/#")
        node.hub.block(slow.outbox, 0, now=0.0)
        node.append(50)
        await quick.ids(50)
        assert slow.outbox.waiting_messages == 4
        node.delivery.resume(slow.outbox)
        everything = [f"s{number}" for number in range(1, 51)]
        assert await slow.ids(50) == await quick.ids(50) == everything
        await slow.until(lambda: node.hub.spill_reader(slow.outbox) is None)
        node.append(1)
        assert (await slow.ids(51))[-1] == "s51"
        assert slow.other() == []


async def test_many_who_come_back_share_what_is_read() -> None:
    async with world(window_messages=5) as node:
        node.append(200)
        clients = [node.client() for _ in range(40)]
        await asyncio.gather(*(client.subscribe("s/#", EARLIEST) for client in clients))
        for client in clients:
            assert len(await client.ids(200)) == 200
        # The model's store gives seven publications a page.
        assert node.following.catching_up.statistics().pages < 80


async def test_the_last_interest_lets_the_tail_linger_and_then_end() -> None:
    async with world() as node:
        tails = node.following.tails
        now = 0.0
        tails._clock = lambda: now
        client = node.client()
        await client.subscribe("s/#")
        node.subscriber.end(client.outbox)
        (path,) = tails.streams("s/#")
        node.append(1)
        await client.until(lambda: path.tail.last == 1)
        now = 31.0
        node.append(1)
        await client.until(lambda: path.window is None)
        reply = await node.client().subscribe("s/#")
        assert reply["positions"]["s"]["offset"] == 2


async def test_a_loss_between_the_nodes_is_told_to_those_alone_who_hear_live_topics() -> None:
    async with world("s", "t") as node:
        clients = {each: node.client() for each in ("s/#", "t/a", "#", "+/a", "live/#")}
        for topic_filter, client in clients.items():
            await client.subscribe(topic_filter)
        node.delivery.announce_loss(lambda _: True, None)
        await until(lambda: not node.hub.unwritten)
        told = {topic_filter for topic_filter, client in clients.items() if client.other()}
        assert told == {"#", "+/a", "live/#"}


async def test_who_wants_little_of_much_has_it_selected_and_those_with_one_filter_share_it() -> None:
    async with world(window_messages=5) as node:
        for _ in range(20):
            node.append(1, "s/rare")
            node.append(99)
        clients = [node.client() for _ in range(10)]
        await asyncio.gather(*(client.subscribe("s/rare", EARLIEST) for client in clients))
        for client in clients:
            assert await client.ids(20) == [f"s{number}" for number in range(1, 2000, 100)]
            await client.until(client.other)
        statistics = node.following.catching_up.statistics()
        # The model's store selects three publications a page, and reads seven for all.
        assert statistics.pages == statistics.selected <= 20


async def test_last_counts_what_matches() -> None:
    async with world(window_messages=4) as node:
        for topic in ["s/a", "s/b", "s/b", "s/a", "s/b", "s/b", "s/b", "s/b", "s/b"]:
            node.append(1, topic)
        client = node.client()
        reply = await client.subscribe("s/a", Start(StartKind.LAST, 2))
        assert reply["positions"]["s"]["offset"] == 0
        assert await client.ids(2) == ["s1", "s4"]
        one = node.client()
        await one.subscribe("s/a", Start(StartKind.LAST, 1))
        assert await one.ids(1) == ["s4"]
        await one.until(one.other)
        assert len(one.messages()) == 1


async def test_last_per_topic_is_in_stream_order_and_the_log_goes_on() -> None:
    async with world("s", "t", window_messages=4) as node:
        for topic in ["s/a", "s/b", "s/b", "s/a", "s/b", "s/c", "s/b", "s/b", "s/b", "t/a"]:
            node.append(1, topic)
        client = node.client()
        reply = await client.subscribe("#", Start(StartKind.LAST_PER_TOPIC, 2))
        assert reply["positions"]["s"]["offset"] == 0
        node.append(3)
        await client.until(client.other)
        assert [each for each in await client.ids(9) if each[0] == "s"] == [
            *("s1", "s4", "s6", "s8", "s9"),
            *("s10", "s11", "s12"),
        ]
        assert [each for each in await client.ids(9) if each[0] == "t"] == ["t1"]
        assert client.other() == [{"op": "caught_up", "filter": "#"}]
        node.append(1)
        assert (await client.ids(10))[-1] == "s13"


async def test_last_per_topic_of_nothing_begins_with_what_is_new() -> None:
    async with world() as node:
        node.append(3)
        client = node.client()
        reply = await client.subscribe("s/other", Start(StartKind.LAST_PER_TOPIC, 2))
        assert reply["positions"]["s"]["offset"] == 3
        node.append(1, "s/other")
        assert await client.ids(1) == ["s4"]


async def test_more_topics_than_one_read_finds_are_refused() -> None:
    async with world() as node:
        node.store.topics_per_read = 2
        for topic in ("s/a", "s/b", "s/c"):
            node.append(1, topic)
        client = node.client()
        with pytest.raises(TooMany):
            await client.subscribe("s/+", Start(StartKind.LAST_PER_TOPIC, 1))
        assert client.outbox.subscriptions == {}


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(st.sampled_from(["s/a", "s/b", "s/c", "s"]), max_size=40),
    between=st.lists(st.lists(st.sampled_from(["s/a", "s/b", "s/d"]), max_size=4), max_size=12),
    start=st.builds(Start, st.sampled_from([StartKind.LAST, StartKind.LAST_PER_TOPIC]), st.integers(1, 6)),
    topic_filter=st.sampled_from(["#", "s/#", "s/+", "s/a", "+/b"]),
    indexed=st.booleans(),
    latency=st.sampled_from([0.0, 0.001]),
)
def test_whatever_is_appended_meanwhile_the_newest_come_and_then_all_that_follow(
    before: list[str],
    between: list[list[str]],
    start: Start,
    topic_filter: str,
    indexed: bool,
    latency: float,
) -> None:
    async def main() -> tuple[list[int], list[str], int]:
        async with world(window_messages=6) as node:
            node.store.indexed, node.store.latency = indexed, latency
            for topic in before:
                node.append(1, topic)
            client = node.client()
            subscribing = asyncio.create_task(client.subscribe(topic_filter, start))
            for topics in between:
                for topic in topics:
                    node.append(1, topic)
                await asyncio.sleep(latency)
            await subscribing
            log = node.store.logs["s"]
            node.append(1, "s/a")
            node.append(1, "s/b")
            await asyncio.sleep(60)
            assert [each["op"] for each in client.other()] == ["caught_up"]
            topics = [each.topic for each in log.kept if each is not None]
            return [frame["offset"] for frame in client.messages()], topics, len(before)

    got, topics, known = run(main())
    matching = [at for at, topic in enumerate(topics, start=1) if matches(topic_filter, topic)]

    def newest(as_of: int) -> set[int]:
        if start.kind is StartKind.LAST:
            return set([at for at in matching if at <= as_of][-start.value :])
        of_each = [[at for at in matching if at <= as_of and topics[at - 1] == one] for one in set(topics)]
        return {at for offsets in of_each for at in offsets[-start.value :]}

    expected = [
        sorted(newest(as_of) | {at for at in matching if at > as_of})
        for as_of in range(known, len(topics) + 1)
    ]
    assert got in expected, "as of some moment of the subscription"


def told_as(frames: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(each["id"], each.get("snapshot", False)) for each in frames if each["op"] == "message"]


async def test_a_snapshot_comes_before_what_follows_and_caught_up_after_it() -> None:
    async with world("s", "t", last_values=("s",)) as here:
        for topic in ("s/a", "s/b", "s/a", "s/c", "t/a"):
            here.append(1, topic)
        here.store.logs["s"].trim(3)
        client = here.client()
        reply = await client.subscribe("#", START_SNAPSHOT)
        assert reply["positions"] == {"s": {"epoch": "s1", "offset": 4}, "t": {"epoch": "t1", "offset": 1}}
        assert reply["recovered"] is None
        here.append(1, "s/b")
        here.append(1, "t/b")
        end = {"op": "caught_up", "filter": "#"}
        await client.until(
            lambda: end in client.frames and {"s5", "t2"} <= {each["id"] for each in client.messages()}
        )
        caught_up = client.frames.index(end)
        found = [each for each in told_as(client.frames) if each[0][0] == "s"]
        # The value that was replaced before its page was read may be left out: its successor comes.
        assert [each for each in found if each != ("s2", True)] == [("s3", True), ("s4", True), ("s5", False)]
        assert [each for each in told_as(client.frames) if each[0][0] == "t"] == [("t2", False)]
        assert {each["filter"] for each in client.frames[:caught_up]} == {"#"}


async def test_a_snapshot_of_live_topics_alone_is_nothing() -> None:
    async with world("s", last_values=("s",)) as here:
        client = here.client()
        reply = await client.subscribe("live/#", START_SNAPSHOT)
        assert (reply["positions"], reply["recovered"]) == ({}, None)
        assert [each["op"] for each in client.frames] == ["caught_up"]


async def test_who_comes_back_goes_on_where_it_was_without_a_snapshot() -> None:
    async with world("s", last_values=("s",)) as here:
        here.append(4)
        client = here.client()
        reply = await client.subscribe("s/#", START_SNAPSHOT, {"s": Position("s1", 2)})
        assert (reply["recovered"], reply["positions"]["s"]["offset"]) == (True, 2)
        await client.until(client.other)
        assert told_as(client.frames) == [("s3", False), ("s4", False)]


@pytest.mark.parametrize(
    ("resume", "told"),
    [
        ({"s": Position("s1", 1), "t": Position("t1", 2)}, ["trimmed"]),
        ({"s": Position("s0", 1), "t": Position("t1", 2)}, ["epoch"]),
        ({"t": Position("t1", 2)}, []),
        ({"s": Position("s1", 4), "t": Position("t1", 2), "gone": Position("g", 1)}, []),
    ],
)
async def test_what_can_not_be_resumed_begins_with_a_snapshot_of_everything(
    resume: dict[str, Position], told: list[str]
) -> None:
    async with world("s", "t", last_values=("s", "t"), window_messages=1) as here:
        for topic in ("s/a", "s/b", "s/c", "s/a", "t/a", "t/b"):
            here.append(1, topic)
        here.store.logs["s"].trim(2)
        client = here.client()
        reply = await client.subscribe("#", START_SNAPSHOT, resume)
        assert reply["recovered"] is False
        await client.until(lambda: {"op": "caught_up", "filter": "#"} in client.frames)
        gaps = [each for each in client.frames if each["op"] == "gap"]
        assert [each["reason"] for each in gaps] == told
        # Of another life a client knows nothing but what the gap says: its values are as of there.
        at = [(each["epoch"], each["offset"]) for each in gaps if each["reason"] == "epoch"]
        assert at == [tuple(reply["positions"]["s"].values())] * len(at)
        assert sorted(told_as(client.frames)) == [
            ("s2", True), ("s3", True), ("s4", True), ("t1", True), ("t2", True),
        ]  # fmt: skip


async def test_a_snapshot_is_told_of_a_new_epoch_when_its_node_has_noticed_it() -> None:
    async with world("s", last_values=("s",)) as here:
        here.append(3)
        keeper = here.client()
        await keeper.subscribe("s/#")
        # Nothing wakes the tail, and the store is asked for the bounds.
        here.store.logs["s"].begin_again()
        client = here.client()
        reply = await client.subscribe("s/#", START_SNAPSHOT, {"s": Position("s0", 1)})
        assert reply["positions"] == {"s": {"epoch": "s1", "offset": 3}}
        here.store.notify()
        await client.until(lambda: {"op": "caught_up", "filter": "s/#"} in client.frames)
        gaps = [(each["epoch"], each["offset"]) for each in client.frames if each["op"] == "gap"]
        # A client passes over a gap of the epoch in which it is: each is named once, with the right offset.
        assert gaps == [("s1", 3), ("s2", 3)]


async def test_an_overlapping_live_subscription_is_left_alone_by_a_snapshot() -> None:
    async with world("s", last_values=("s",)) as here:
        here.append(2)
        client = here.client()
        await client.subscribe("s/a")
        here.store.away = True
        await client.subscribe("s/#", START_SNAPSHOT)
        here.store.away = False
        here.append(1)
        await client.until(lambda: {"op": "caught_up", "filter": "s/#"} in client.frames)
        assert [each["id"] for each in client.messages() if "filter" not in each] == ["s3"]


async def test_who_has_a_snapshot_is_told_once_of_a_purge_that_may_concern_it() -> None:
    async with world("s", last_values=("s",)) as node:
        node.append(3)
        view, other, plain = node.client(), node.client(), node.client()
        await view.subscribe("s/+", START_SNAPSHOT)
        await other.subscribe("s/b", START_SNAPSHOT)
        await plain.subscribe("s/#")
        await until(lambda: view.other() and other.other())  # caught up
        for _ in range(2):
            node.following.forget(ForgetStream("s", "s/a", 3))
        await view.until(lambda: len(view.other()) == 2)
        node.append(1)
        for client in (view, plain):
            await client.until(lambda client=client: "s4" in [each["id"] for each in client.messages()])
        gap = {"op": "gap", "reason": "purged", "filter": "s/+", "stream": "s", "dropped": None}
        assert view.other()[1:] == [gap]
        assert [each["op"] for each in other.other()] == ["caught_up"]
        assert plain.other() == []
        # Who asks again has a view again.
        await view.subscribe("s/+", START_SNAPSHOT)
        await until(lambda: len(view.other()) == 3)  # caught up
        node.following.forget(ForgetStream("s", "#", 4))
        await view.until(lambda: len(view.other()) == 4)
        assert view.other()[-1] == gap
