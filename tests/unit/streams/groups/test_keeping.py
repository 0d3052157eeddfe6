"""What has changed is kept in steps, and what a step failed to keep is in the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.groups.deliveries import Dead
from gateway.core.groups.finished import Finished
from gateway.core.groups.group import Group
from gateway.errors import StreamUnavailable
from gateway.streams.groups.backlog import GroupBacklog
from gateway.streams.groups.journal import KeptChange
from gateway.streams.groups.keeping import GroupKeeper

if TYPE_CHECKING:
    from gateway.streams.groups.journal import GroupChange

NO_LOG: Any = None
pytestmark = pytest.mark.anyio


class Journal:
    """Keeps a change once it is told to."""

    durable = True

    def __init__(self) -> None:
        self.steps: list[tuple[GroupChange, asyncio.Future[KeptChange]]] = []

    def save(self, stream: str, configuration: Any, change: GroupChange) -> asyncio.Future[KeptChange]:
        done: asyncio.Future[KeptChange] = asyncio.get_running_loop().create_future()
        self.steps.append((change, done))
        return done


class World:
    def __init__(self, seconds: float = 30.0) -> None:
        self.group = Group(GroupConfiguration("g"), finished=Finished())
        self.journal: Any = Journal()
        self.keeper = GroupKeeper(
            "s",
            self.group,
            GroupBacklog("s", self.group, NO_LOG, trimmed=0),
            self.journal,
            seconds=seconds,
            finished=lambda: None,
        )
        for offset in range(1, 6):
            self.group.offer(offset, "s/t", None)

    def lease(self) -> Any:
        (offset,) = self.group.take(1)
        return self.group.lease(offset, "m", 0)

    async def keep(self) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.keeper.keep())
        await asyncio.sleep(0)
        return task


async def test_what_changes_during_a_step_waits_for_the_next_one() -> None:
    world = World()
    first = world.lease()
    keeping = await world.keep()
    world.lease()
    later = [await world.keep(), await world.keep()]
    ((change, done),) = world.journal.steps
    assert set(change.deliveries) == {1}
    done.set_result(KeptChange(0))
    await keeping
    assert not any(each.done() for each in later)
    await asyncio.sleep(0)
    (_, (change, done)) = world.journal.steps
    assert set(change.deliveries) == {2}
    done.set_result(KeptChange(0))
    await asyncio.gather(*later)
    assert world.group.ack(1, first.fence)
    assert world.keeper.floor == 0
    acknowledged = await world.keep()
    world.journal.steps[-1][1].set_result(KeptChange(0))
    await acknowledged
    assert world.keeper.floor == 1


async def test_who_waits_for_what_is_under_way_waits_for_that() -> None:
    world = World()
    world.lease()
    keeping = await world.keep()
    also = await world.keep()
    assert not also.done()
    world.journal.steps[0][1].set_result(KeptChange(0))
    await asyncio.gather(keeping, also)
    assert len(world.journal.steps) == 1
    await world.keeper.keep()
    assert len(world.journal.steps) == 1


async def test_a_step_that_fails_is_told_and_made_up_for() -> None:
    world = World()
    delivery = world.lease()
    keeping = await world.keep()
    world.journal.steps[0][1].set_exception(StreamUnavailable("no"))
    with pytest.raises(StreamUnavailable):
        await keeping
    world.group.ack(1, delivery.fence)
    dead = world.group.nack(2, world.lease().fence, 0, dead=True)
    assert not isinstance(dead, bool)
    world.keeper.buried.append(dead)
    keeping = await world.keep()
    world.journal.steps[1][1].set_exception(StreamUnavailable("no"))
    with pytest.raises(StreamUnavailable):
        await keeping
    keeping = await world.keep()
    change, done = world.journal.steps[2]
    assert (change.deliveries, change.buried) == ({1: None, 2: None}, [dead])
    done.set_result(KeptChange(1, (), ()))
    await keeping
    assert (world.keeper.dead, world.keeper.floor) == (1, 2)


async def test_what_could_not_be_buried_is_lost() -> None:
    world = World()
    dead = world.group.nack(1, world.lease().fence, 0, dead=True)
    assert not isinstance(dead, bool)
    world.keeper.buried.append(dead)
    keeping = await world.keep()
    world.journal.steps[0][1].set_result(KeptChange(0, [1]))
    await keeping
    assert (world.keeper.dead, world.group.lost) == (0, 1)


async def test_nobody_waits_for_ever() -> None:
    world = World(seconds=0.01)
    world.lease()
    with pytest.raises(StreamUnavailable):
        await world.keeper.keep()
    world.lease()
    with pytest.raises(StreamUnavailable):
        await world.keeper.keep()


async def test_what_is_being_buried_is_counted_until_it_is_kept() -> None:
    world = World()
    delivery = world.lease()
    buried = world.group.nack(1, delivery.fence, 5, dead=True)
    assert isinstance(buried, Dead)
    world.keeper.buried.append(buried)
    assert world.keeper.dying == 1
    keeping = await world.keep()
    assert (world.keeper.dying, world.keeper.dead) == (1, 0)
    ((_, done),) = world.journal.steps
    done.set_exception(StreamUnavailable("away"))
    await asyncio.gather(keeping, return_exceptions=True)
    assert world.keeper.dying == 1
    keeping = await world.keep()
    world.journal.steps[-1][1].set_result(KeptChange(1))
    await keeping
    assert (world.keeper.dying, world.keeper.dead) == (0, 1)
