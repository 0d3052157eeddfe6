"""What members get and when, over a store in memory; time passes when all wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.auth.grants import EVERYTHING, NOTHING, Grants
from gateway.core.groups.delivery_token import decode_token
from gateway.engine.consuming import _PIECE
from gateway.errors import Conflict, NotFound, NotPermitted, StreamUnavailable
from gateway.streams.groups.base import Lease

from .groups_world import GROUP, groups_node, in_virtual_time

if TYPE_CHECKING:
    from .groups_world import GroupsNode


class Troubled:
    """A store of groups, calls of which can be made to fail."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failing: dict[str, Exception] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if name in self.failing:
                # It takes a while to fail, and much happens meanwhile.
                await asyncio.sleep(0.005)
                raise self.failing[name]
            return await found(*arguments, **named)

        return found if name == "watch" else call


def trouble(node: GroupsNode) -> Troubled:
    troubled = node.groups.store = Troubled(node.store.groups)  # type: ignore[assignment]  # stands in for it
    return troubled


@in_virtual_time
async def test_members_share_a_group_and_nobody_gets_more_than_its_credit() -> None:
    async with groups_node() as node:
        one, two = node.member(), node.member()
        await one.consume(credit=3)
        await two.consume(credit=1)
        await node.publish(6)
        assert (len(one.offsets()), len(two.offsets())) == (3, 1)
        assert sorted(one.offsets() + two.offsets()) == [1, 2, 3, 4]
        assert (await node.ack(*two.tokens())).stale == ()
        assert (one.offsets()[3:], two.offsets()[1:]) == ([], [5])
        await node.ack(*one.tokens())
        assert one.offsets()[3:] == [6]
        counts = node.groups.counts["s", "g"]
        assert (counts.delivered, counts.acknowledged, counts.stale) == (6, 4, 0)


@in_virtual_time
async def test_a_delivery_says_what_its_member_needs_and_comes_behind_the_reply() -> None:
    async with groups_node() as node:
        await node.publish(1, key="k", data=b'{"a":1}')
        member = node.member()
        assert await member.consume(ref=7) == []
        reply, delivery = member.events()
        assert reply == {
            "op": "consuming",
            "stream": "s",
            "group": "g",
            "credit": 10,
            "ack_wait": 10_000,
            "ref": 7,
        }
        assert delivery.pop("delivery")
        assert delivery.pop("time") <= node.clock()
        assert delivery.pop("deadline") == pytest.approx(node.clock() + 10_000, abs=2)
        assert delivery == {
            "op": "delivery", "group": "g", "attempt": 1, "fence": 1, "stream": "s", "offset": 1,
            "topic": "s/a", "id": "m", "key": "k", "data": {"a": 1},
        }  # fmt: skip


@in_virtual_time
async def test_more_credit_counts_at_once_and_less_from_then_on() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume(credit=1)
        await node.publish(5)
        await member.consume(credit=3)
        assert member.offsets() == [1, 2, 3]
        await member.consume(credit=1)
        await node.ack(*member.tokens()[:2])
        assert member.offsets() == [1, 2, 3]
        await node.ack(member.tokens()[2])
        assert member.offsets() == [1, 2, 3, 4]


@in_virtual_time
async def test_what_a_member_rejects_comes_again_after_its_backoff_or_the_delay_it_asks_for() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        await node.publish()
        began = node.clock()
        await node.nack(member.tokens()[0])
        assert len(member.deliveries()) == 1
        await asyncio.sleep(1.1)
        assert [each["attempt"] for each in member.deliveries()] == [1, 2]
        await node.nack(member.tokens()[1], delay=5_000)
        await asyncio.sleep(4.8)
        assert len(member.deliveries()) == 2
        await asyncio.sleep(0.3)
        third = member.deliveries()[2]
        assert (third["attempt"], third["offset"]) == (3, 1)
        assert node.clock() - began < 6_500
        await node.nack(member.tokens()[2])
        await asyncio.sleep(60)
        assert len(member.deliveries()) == 3
        figures = await node.figures()
        assert (figures.dead, figures.depth, figures.redelivered) == (1, 0, 2)
        assert node.groups.counts["s", "g"].rejected == 3


@in_virtual_time
async def test_a_member_can_call_a_message_dead() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        await node.publish()
        await node.nack(*member.tokens(), dead=True)
        assert (await node.figures()).dead == 1


@in_virtual_time
async def test_a_lease_that_runs_out_goes_to_somebody_else_and_its_token_is_stale() -> None:
    async with groups_node() as node:
        slow, other = node.member(), node.member()
        await slow.consume(credit=1)
        await node.publish(2)
        await other.consume(credit=1)
        assert (slow.offsets(), other.offsets()) == ([1], [2])
        await node.ack(*other.tokens())
        slow.block()
        await asyncio.sleep(11.5)
        assert other.offsets() == [2, 1]
        assert other.deliveries()[1]["attempt"] == 2
        assert other.deliveries()[1]["fence"] > slow.deliveries()[0]["fence"]
        assert await node.ack(*slow.tokens()) == ((), slow.tokens())
        assert node.groups.counts["s", "g"].stale == 1
        await slow.unblock()
        await node.publish()
        assert slow.offsets() == [1, 3], "what ran out takes no credit any more"
        assert await node.ack(other.tokens()[1]) == ((other.tokens()[1],), ())


@in_virtual_time
async def test_an_extended_lease_lasts_and_keeps_its_credit() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume(credit=1)
        await node.publish(2)
        for _ in range(4):
            await asyncio.sleep(8)
            assert await node.extend(*member.tokens(), by=10_000) == (member.tokens(), ())
        assert member.offsets() == [1]
        assert (await node.ack(*member.tokens())).stale == ()
        assert member.offsets() == [1, 2]


@pytest.mark.parametrize("lost", [True, False])
@in_virtual_time
async def test_a_cut_connection_counts_an_attempt_and_one_that_ends_as_it_should_does_not(lost: bool) -> None:
    async with groups_node() as node:
        gone, other = node.member(), node.member()
        await gone.consume()
        await node.publish()
        await other.consume()
        await gone.end(lost=lost)
        await gone.end(lost=lost)
        assert other.offsets() == ([] if lost else [1])
        await asyncio.sleep(1.1)
        assert [each["attempt"] for each in other.deliveries()] == [2 if lost else 1]
        assert node.consumer.members == 1


@in_virtual_time
async def test_who_releases_gives_back_at_once_and_gets_nothing_more() -> None:
    async with groups_node() as node:
        one, two = node.member(), node.member()
        await one.consume()
        await node.publish()
        await two.consume()
        (released,) = await one.release()
        assert (released.stream, released.group) == ("s", "g")  # type: ignore[union-attr]  # Released
        assert [each["attempt"] for each in two.deliveries()] == [1]
        await node.publish()
        assert (one.offsets(), two.offsets()) == ([1], [1, 2])
        with pytest.raises(NotFound):
            await one.release()


@in_virtual_time
async def test_who_stops_gives_back_what_it_has_not_begun_and_finishes_the_rest() -> None:
    async with groups_node() as node:
        one, two = node.member(), node.member()
        await one.consume()
        await node.publish(2)
        begun, waiting = one.tokens()
        await one.consume(credit=0)
        (released,) = await one.release(deliveries=(waiting, "none of ours"))
        assert (released.stream, released.group) == ("s", "g")  # type: ignore[union-attr]  # Released
        assert one.offsets() == [1, 2]
        await two.consume()
        assert [(each["offset"], each["attempt"]) for each in two.deliveries()] == [(2, 1)]
        # It is a member all the same: its answers count, and credit brings it more.
        assert (await node.ack(begun, waiting)) == ((begun,), (waiting,))
        await two.consume(credit=0)
        await one.consume(credit=10)
        await node.publish()
        assert one.offsets() == [1, 2, 3]
        assert (await node.figures()).in_flight == 2


@in_virtual_time
async def test_what_is_given_back_needs_the_grant() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        await node.publish()
        with pytest.raises(NotPermitted):
            await member.release(grants=Grants(consume=("s/other",)), deliveries=member.tokens())
        # A token of another group is none of this one's.
        await node.store.groups.put("s", replace(GROUP, name="other"))
        await member.release(group="other", deliveries=member.tokens())
        assert (await node.figures()).in_flight == 1


@in_virtual_time
async def test_a_connection_that_does_not_take_gets_nothing_and_holds_up_nobody() -> None:
    async with groups_node() as node:
        blocked, other = node.member(), node.member()
        await blocked.consume(credit=5)
        blocked.block()
        await other.consume(credit=2)
        await node.publish(4)
        assert (blocked.offsets(), other.offsets()) == ([], [1, 2])
        # Credit that it gets again brings it nothing either.
        for credit in range(6, 9):
            await blocked.consume(credit=credit)
        await node.ack(*other.tokens())
        assert other.offsets() == [1, 2, 3, 4]
        await node.ack(*other.tokens()[2:])
        await other.end(lost=False)
        await node.publish(3)
        assert blocked.offsets() == []
        assert len(node.delivery._awaiting[blocked.outbox]) == 1, (
            "asked for once, however often it is passed over"
        )
        await blocked.unblock()
        assert blocked.offsets() == [5, 6, 7]
        assert [each["attempt"] for each in blocked.deliveries()] == [1, 1, 1]


@in_virtual_time
async def test_a_connection_that_stops_taking_in_mid_delivery_gives_the_rest_back() -> None:
    async with groups_node() as node:
        narrow, other = node.member(), node.member()
        await node.publish(40, data=b'"%b"' % (b"x" * (_PIECE // 4)))
        narrow.sink.room = _PIECE
        await narrow.consume(credit=100)
        had = len(narrow.sink.written)
        assert had < 3 * _PIECE, "no more than a piece beyond what it takes"
        taken = narrow.offsets()
        await other.consume(credit=100)
        assert sorted(taken + other.offsets()) == list(range(1, 41))
        assert {each["attempt"] for each in other.deliveries()} == {1}
        assert (await node.figures()).in_flight == 40


@in_virtual_time
async def test_many_deliveries_are_few_writes() -> None:
    async with groups_node() as node:
        member = node.member()
        await node.publish(200)
        await member.consume(credit=200)
        assert member.offsets() == list(range(1, 201))
        assert member.sink.writes <= 10


@in_virtual_time
async def test_one_key_goes_to_one_member_at_a_time_in_order() -> None:
    async with groups_node(replace(GROUP, ordered_by_key=True)) as node:
        one, two = node.member(), node.member()
        await one.consume(credit=5)
        await two.consume(credit=5)
        for key in ("a", "a", "b", "a"):
            await node.publish(key=key)
        assert sorted(one.offsets() + two.offsets()) == [1, 3]
        owner = one if 1 in one.offsets() else two
        await node.nack(owner.tokens()[owner.offsets().index(1)])
        assert sorted(one.offsets() + two.offsets()) == [1, 3]
        await asyncio.sleep(1.1)
        assert sorted(one.offsets() + two.offsets()) == [1, 1, 3]
        for member in (one, two):
            await node.ack(*member.tokens())
        assert sorted(one.offsets() + two.offsets()) == [1, 1, 2, 3]


@in_virtual_time
async def test_what_is_delayed_comes_when_its_time_has_come() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        await node.publish(delay=30_000)
        await node.publish()
        assert member.offsets() == [2]
        await node.ack(*member.tokens())
        await asyncio.sleep(29)
        assert member.offsets() == [2]
        await asyncio.sleep(1.1)
        assert [(each["offset"], each["attempt"]) for each in member.deliveries()] == [(2, 1), (1, 1)]


@in_virtual_time
async def test_room_that_an_answer_makes_is_used_by_whoever_has_credit() -> None:
    async with groups_node(replace(GROUP, max_in_flight=1)) as node:
        one, two = node.member(), node.member()
        await one.consume(credit=5)
        await two.consume(credit=5)
        await node.publish(3)
        assert one.offsets() + two.offsets() == [1]
        for _ in range(3):
            await node.ack(*one.tokens(), *two.tokens())
        assert sorted(one.offsets() + two.offsets()) == [1, 2, 3]


@in_virtual_time
async def test_only_groups_that_there_are_can_be_consumed_and_only_with_a_grant() -> None:
    async with groups_node() as node:
        member = node.member()
        for stream, group in (("s", "other"), ("u", "g")):
            with pytest.raises(NotFound):
                await member.consume(stream, group)
            with pytest.raises(NotPermitted):
                await member.consume(stream, group, grants=NOTHING)
        with pytest.raises(NotPermitted):
            await member.release(grants=Grants(consume=("s/other",)))
        with pytest.raises(Conflict, match="'#'"):
            await member.consume(filter="s/a")
        assert (member.events(), node.consumer.members) == ([], 0)
        await member.consume(filter="#", grants=Grants(consume=("s/g",)))
        assert node.consumer.members == 1
        assert node.refusals.statistics()["grant"] == 3


@in_virtual_time
async def test_who_may_no_longer_consume_is_told_and_gives_back() -> None:
    async with groups_node() as node:
        await node.store.groups.put("t", GROUP)
        member, other = node.member(), node.member()
        await member.consume()
        await member.consume("t")
        await node.publish()
        await other.consume()
        told = node.consumer.restrict(member.outbox, Grants(consume=("t/g",)))
        await node.quiet()
        assert [type(each).__name__ for each in told] == ["Failure", "Released"]
        assert "s/g" in told[0].reason  # type: ignore[union-attr]  # Failure
        assert [each["attempt"] for each in other.deliveries()] == [1]
        await node.publish(topic="t/a")
        assert member.deliveries()[-1]["stream"] == "t"
        assert node.consumer.restrict(member.outbox, EVERYTHING) == []


@in_virtual_time
async def test_members_of_a_group_that_is_removed_are_told() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        await node.publish()
        await node.administration.delete("s", "g")
        await node.quiet()
        error, released = member.events()[-2:]
        assert (error["op"], error["code"], error["fatal"]) == ("error", "not_found", False)
        assert released == {"op": "released", "stream": "s", "group": "g"}
        assert node.consumer.members == 0
        assert await node.ack(*member.tokens()) == ((), member.tokens())
        await node.store.groups.put("s", GROUP)
        await member.consume()
        await node.publish()
        assert member.offsets() == [1, 2]


@in_virtual_time
async def test_a_store_that_is_away_is_asked_again_and_not_all_the_time() -> None:
    async with groups_node() as node:
        store = trouble(node)
        member = node.member()
        await member.consume()
        store.failing["take"] = StreamUnavailable("away")
        store.calls.clear()
        for _ in range(200):
            await node.publish()
        await asyncio.sleep(20)
        assert 8 <= store.calls.count("take") <= 30
        assert member.offsets() == []
        store.failing.clear()
        await asyncio.sleep(2.1)
        assert member.offsets() == list(range(1, 11))


@in_virtual_time
async def test_what_the_store_does_not_hear_of_at_once_runs_out() -> None:
    async with groups_node() as node:
        store = trouble(node)
        one, two = node.member(), node.member()
        await one.consume()
        await node.publish()
        await two.consume()
        store.failing["release"] = StreamUnavailable("away")
        with pytest.raises(StreamUnavailable):
            await one.release()
        await node.consumer.departed()
        assert two.offsets() == []
        await asyncio.sleep(11.5)
        assert [each["attempt"] for each in two.deliveries()] == [2]


@in_virtual_time
async def test_the_node_can_wait_until_the_store_knows_who_has_gone() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        await node.publish()
        node.consumer.end(member.outbox, lost=False)
        assert (await node.figures()).in_flight == 1
        await node.consumer.departed()
        assert (await node.figures()).in_flight == 0
        await node.consumer.departed()


@in_virtual_time
async def test_clocks_that_differ_neither_free_credit_early_nor_ask_without_end() -> None:
    async with groups_node() as node:
        store = trouble(node)
        taking = node.store.groups.take

        async def take(*arguments: Any) -> Any:
            store.calls.append("take")
            taken = await taking(*arguments)
            # The store's clock is an hour behind this node's.
            deliveries = [each._replace(deadline=each.deadline - 3_600_000) for each in taken.deliveries]
            due = None if taken.next_due is None else taken.next_due - 3_600_000
            return taken._replace(deliveries=deliveries, next_due=due, now=node.clock() - 3_600_000)

        store.take = take
        member = node.member()
        await member.consume(credit=1)
        await node.publish(3)
        await asyncio.sleep(5)
        assert member.offsets() == [1]
        assert store.calls.count("take") < 10
        await node.nack(*member.tokens())
        await asyncio.sleep(5)
        assert store.calls.count("take") < 20


@in_virtual_time
async def test_an_unexpected_failure_does_not_end_the_group() -> None:
    async with groups_node() as node:
        store = trouble(node)
        member = node.member()
        await member.consume()
        store.failing["take"] = ZeroDivisionError("a defect")
        await node.publish()
        await asyncio.sleep(0.01)
        assert node.background.supervision.statistics() == {"background": 1}
        store.failing.clear()
        await asyncio.sleep(1)
        assert member.offsets() == [1]
        node.background.supervision._counts.clear()


@in_virtual_time
async def test_credit_is_free_again_soon_where_another_node_heard_the_answer() -> None:
    async with groups_node() as node:
        calls = trouble(node).calls
        member, other = node.member(), node.member()
        await member.consume(credit=2)
        await node.publish(6)
        assert member.offsets() == [1, 2]
        # Nobody asks more often than once a second for what has not changed.
        await asyncio.sleep(5)
        assert 4 <= calls.count("held") <= 6
        # As another node does it: no service of this one hears of it.
        name = decode_token(member.tokens()[0])
        assert name is not None
        await node.store.groups.acknowledge("s", "g", [Lease(name.offset, name.fence, name.life)])
        await asyncio.sleep(1.1)
        assert member.offsets() == [1, 2, 3]
        # Who has credit left is served at once, and then nobody asks.
        await other.consume(credit=9)
        assert other.offsets() == [4, 5, 6]
        await node.ack(*member.tokens())
        calls.clear()
        await asyncio.sleep(5)
        assert "held" not in calls
