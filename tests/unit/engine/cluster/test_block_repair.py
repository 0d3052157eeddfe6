"""How often one node asks another for its blocks; what comes of it is held over real buses."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from gateway.core.cluster.block_list import BlockList
from gateway.core.cluster.control import Blocks
from gateway.core.cluster.info import NodeInfo
from gateway.core.cluster.membership import Membership
from gateway.engine.administration import Administration
from gateway.engine.cluster.block_repair import BlockRepair
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.sessions import Sessions

NOW = 100.0


class OtherNode:
    """Answers with its blocks as a node does, or not at all; counts how often it is asked."""

    def __init__(self, blocks: BlockList) -> None:
        self.blocks = blocks
        self.asked = 0
        self.silent = False

    async def ask(self, question, awaited, *, to):
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        page = tuple(self.blocks.page(limit=1, after=question.after, now=NOW))
        return {} if self.silent else {to: Blocks(page, page[-1].subject if page else None)}


class Here:
    def __init__(self, blocks: BlockList) -> None:
        self.blocks, self.there = blocks, OtherNode(BlockList())
        self.membership = Membership()
        sessions = Sessions(limit=1, clock=lambda: NOW, refusals=Refusals())
        self.repair = BlockRepair(
            blocks, self.membership, self.there, Administration(sessions), clock=lambda: NOW
        )

    async def hear(self) -> None:
        """A heartbeat of the other node, and time enough for what follows from it."""
        digest = self.there.blocks.digest(NOW)
        self.membership.note_heartbeat(NodeInfo("there", "", "", 0, 0, 0), digest, NOW)
        self.repair.compare(digest)
        await anyio.wait_all_tasks_blocked()

    async def hears(self, times: int) -> int:
        """Hear so many heartbeats; return how often the other node was asked for that."""
        before = self.there.asked
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.repair.run)
            for _ in range(times):
                await self.hear()
            tasks.cancel_scope.cancel()
        return self.there.asked - before


def block(blocks: BlockList, subject: str) -> None:
    blocks.block(subject, 600, node="there", time=1, now=NOW)


async def test_equal_lists_are_left_alone() -> None:
    here = Here(BlockList())
    assert await here.hears(3) == 0


async def test_what_is_missing_is_fetched_once() -> None:
    here = Here(BlockList())
    for name in ("a", "b", "c"):
        block(here.there.blocks, name)
    assert await here.hears(3) == 4, "three pages and an empty one"
    assert all(here.blocks.blocked(name, NOW) for name in ("a", "b", "c"))


async def test_lists_that_cannot_become_alike_are_not_fetched_again_and_again() -> None:
    here = Here(BlockList(entries=1))
    block(here.blocks, "own")
    block(here.there.blocks, "other")
    assert await here.hears(1) > 0
    assert await here.hears(5) == 0
    block(here.there.blocks, "own")
    assert await here.hears(1) > 0, "something is new"


async def test_a_fetch_without_an_answer_is_tried_again_with_the_next_heartbeat() -> None:
    here = Here(BlockList())
    block(here.there.blocks, "a")
    here.there.silent = True
    assert await here.hears(3) == 3
    here.there.silent = False
    assert await here.hears(1) > 0
    assert here.blocks.blocked("a", NOW)
