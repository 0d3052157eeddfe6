from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.auth.grants import EVERYTHING, Grants
from gateway.core.groups.delivery_token import decode_token, encode_token
from gateway.core.messages.commands import Acknowledge, Extend, Reject
from gateway.core.messages.events import Acked
from gateway.engine.acknowledging import MOST_GROUPS_ANSWERED, AcknowledgeService
from gateway.engine.groups import Groups
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import BadCommand, NotPermitted

from .groups_world import GROUP, groups_node, in_virtual_time

if TYPE_CHECKING:
    from gateway.core.groups.delivery_token import LeaseName
    from gateway.engine.acknowledging import Answer

    from .groups_world import GroupMemberConnection, GroupsNode


async def one_delivery(node: GroupsNode) -> tuple[GroupMemberConnection, LeaseName]:
    """A member that has one delivery, and what that's token names."""
    member = node.member()
    await member.consume()
    await node.publish()
    name = decode_token(member.tokens()[0])
    assert name is not None
    return member, name


@in_virtual_time
async def test_each_token_is_answered_for_itself_in_the_order_of_the_command() -> None:
    async with groups_node() as node:
        await node.store.groups.put("t", GROUP)
        member = node.member()
        await member.consume()
        await member.consume("t")
        await node.publish(2)
        await node.publish(topic="t/a")
        first, second, third = member.tokens()
        await node.ack(second)
        answered = await node.ack("nonsense", third, second, first)
        assert answered == ((third, first), ("nonsense", second))
        assert node.groups.counts["s", "g"].acknowledged == 2
        assert node.groups.counts["t", "g"].acknowledged == 1


@in_virtual_time
async def test_one_forbidden_group_and_nothing_is_done() -> None:
    async with groups_node() as node:
        await node.store.groups.put("t", GROUP)
        member = node.member()
        await member.consume()
        await member.consume("t")
        await node.publish()
        await node.publish(topic="t/a")
        for _ in range(2):
            with pytest.raises(NotPermitted):
                await node.ack(*member.tokens(), grants=Grants(consume=("s/g",)))
        assert (await node.ack(*member.tokens())).stale == ()


@in_virtual_time
async def test_a_token_of_another_life_or_lease_is_stale() -> None:
    async with groups_node() as node:
        member, name = await one_delivery(node)
        others = [
            name._replace(life="00000000"),
            name._replace(fence=2),
            name._replace(offset=2),
            name._replace(group="other"),
            name._replace(stream="unknown"),
        ]
        tokens = tuple(encode_token(each) for each in others)
        assert await node.ack(*tokens) == ((), tokens)
        assert (await node.ack(*member.tokens())).stale == ()
        assert set(node.groups.counts) <= {("s", "g")}, "what is made up is not counted"


@in_virtual_time
async def test_a_command_that_names_too_many_groups_asks_for_none_of_them() -> None:
    async with groups_node() as node:
        member, name = await one_delivery(node)
        made_up = [encode_token(name._replace(group=f"g{each}")) for each in range(MOST_GROUPS_ANSWERED)]
        with pytest.raises(BadCommand, match="65 groups"):
            await node.ack(*member.tokens(), *made_up)
        # One fewer is answered, and nothing was done before.
        assert await node.ack(*member.tokens(), *made_up[1:]) == (member.tokens(), tuple(made_up[1:]))


@pytest.mark.parametrize("answer", [Acknowledge(("t",)), Reject(("t",)), Extend(("t",), 1)])
async def test_without_streams_every_token_is_stale(answer: Answer) -> None:
    service = AcknowledgeService(Groups(None, Refusals()))
    assert await service.settle(answer, EVERYTHING) == ((), ("t",))
    assert await service.answer(answer, EVERYTHING) == []


@in_virtual_time
async def test_a_reply_is_only_for_who_asked_for_one() -> None:
    async with groups_node() as node:
        member = node.member()
        await member.consume()
        await node.publish(2)
        first, second = member.tokens()
        assert await node.acknowledger.answer(Acknowledge((first,)), EVERYTHING) == []
        told = await node.acknowledger.answer(Acknowledge((first, second), ref=3), EVERYTHING)
        assert told == [Acked((second,), (first,), ref=3)]
