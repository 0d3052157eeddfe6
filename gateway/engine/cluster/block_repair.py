"""Keeps this node's block list like the others': what it has missed, it fetches.

Every heartbeat carries a digest of its node's list. Where one differs, this node reads the other's list, a
page at a time, and takes what is newer; the other one does the same. So a node that was away or has just
begun learns every block, and a lost message does no lasting harm.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from gateway.core.cluster.control import Blocks, ListBlocks
from gateway.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.cluster.block_list import Block, BlockList
    from gateway.core.cluster.membership import Member, Membership
    from gateway.engine.administration import Administration
    from gateway.engine.cluster.questions import Questions

_TURN_SECONDS = 0.25
"""How long one node is waited for before the next one is asked as well."""

_log = logging.getLogger("gateway.cluster")


class BlockRepair:
    """Fetches blocks from nodes whose lists differ."""

    def __init__(
        self,
        blocks: BlockList,
        membership: Membership,
        questions: Questions,
        administration: Administration,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._blocks = blocks
        self._membership = membership
        self._questions = questions
        self._administration = administration
        self._clock = clock
        self._differs = anyio.Event()
        # By node, the digests at the end of the last fetch: while both are the same there is nothing to
        # fetch, also when the lists can't become alike because one of them is full.
        self._fetched: dict[str, tuple[str, str]] = {}

    def compare(self, digest: str) -> None:
        """A heartbeat has brought another node's ``digest``."""
        if digest != self._blocks.digest(self._clock()):
            self._differs.set()

    async def fetch_all(self) -> None:
        """Learn what the nodes that are known by now have to tell, before anything is decided by it."""
        await self._fetch_from_each(self._membership.others(self._clock()))

    async def run(self) -> None:
        """Repair for ever; woken by heartbeats, so what fails is tried again with the next ones."""
        while True:
            await self._differs.wait()
            self._differs = anyio.Event()
            members = self._membership.others(self._clock())
            self._fetched = {
                member.facts.node: self._fetched[member.facts.node]
                for member in members
                if member.facts.node in self._fetched
            }
            await self._fetch_from_each(members)

    async def _fetch_from_each(self, members: Iterable[Member]) -> None:
        async with anyio.create_task_group() as tasks:
            for member in members:
                done = anyio.Event()
                tasks.start_soon(self._fetch_from, member.facts.node, member.blocks, done)
                # Most have the same list, so that one tells it all; but nobody waits long for one that hangs.
                with anyio.move_on_after(_TURN_SECONDS):
                    await done.wait()

    async def _fetch_from(self, node: str, theirs: str, done: anyio.Event) -> None:
        try:
            await self._fetch_pages(node, theirs)
        finally:
            done.set()

    async def _fetch_pages(self, node: str, theirs: str) -> None:
        mine = self._blocks.digest(self._clock())
        if mine == theirs or self._fetched.get(node) == (mine, theirs):
            return
        after: str | None = ""
        while after is not None:
            answers = await self._questions.ask(ListBlocks(after), [node], to=node)
            page = answers.get(node)
            if not isinstance(page, Blocks) or (page.next is not None and page.next <= after):
                return
            await self._learn(page.blocks)
            after = page.next
        self._fetched[node] = (self._blocks.digest(self._clock()), theirs)

    async def _learn(self, blocks: tuple[Block, ...]) -> None:
        now = self._clock()
        learned: set[str] = set()
        try:
            for block in blocks:
                if self._blocks.learn(block, now=now) and block.seconds:
                    learned.add(block.subject)
        except TooMany as exc:
            _log.warning("not all blocks of another node could be taken: %s", exc)
        if learned:
            # They may have come in before this node knew.
            await self._administration.disconnect_subjects(learned)
