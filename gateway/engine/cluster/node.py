"""One node among others: it tells that it is there, hears who else is, and answers what they ask.

Everything goes over the bus, so nothing but the bus has to be reachable, and nothing is stored. What is lost
on the way is told again: heartbeats by their nature, blocks by the digests in them, questions by who asks.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio

from gateway.core.cluster.control import (
    ANSWERS,
    Answer,
    AuditPage,
    BadControl,
    Beat,
    Blocks,
    Changed,
    ChangeSubject,
    Connections,
    Control,
    Described,
    Ended,
    EndSession,
    EndSubject,
    Farewell,
    ForgetStream,
    Forgotten,
    ListBlocks,
    ListConnections,
    Refused,
    SlowConnections,
)
from gateway.engine.cluster.block_repair import BlockRepair
from gateway.engine.cluster.peers import Told
from gateway.engine.cluster.questions import Questions
from gateway.errors import BusUnavailable, GatewayError, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.cluster.block_list import BlockList
    from gateway.core.cluster.control import Question
    from gateway.core.cluster.info import NodeInfo
    from gateway.core.cluster.membership import Member, Membership
    from gateway.core.messages.publication import Publication
    from gateway.engine.administration import Administration
    from gateway.engine.cluster.captured_live import CapturedLive
    from gateway.engine.cluster.control_link import ControlLink
    from gateway.engine.cluster.partition_difference import PartitionDifference

ANSWER_SECONDS = 2.0
"""How long other nodes' answers are waited for."""

_QUEUED_QUESTIONS = 128
_BLOCKS_PER_PAGE = 500
_HELLO_SPREAD_SECONDS = 0.1
_HELLO_ANSWER_SECONDS = 0.3
"""After so long every node has answered a hello that could: the spread, the way and a busy event loop."""
_FAREWELL_SECONDS = 0.5
_AWAY = (BusUnavailable, RateLimited)

_log = logging.getLogger("gateway.cluster")


@dataclass(frozen=True, slots=True)
class ClusterStatistics:
    """Counts since the start, and ``nodes`` now.

    Attributes:
        nodes: heard of and not gone, this one included.
        questions: that this node has asked others.
        unanswered: answers to them that did not come in time.
        unreadable: messages of other nodes that could not be understood.
        dropped: questions and nodes of others for which there was no room.
        differing: nodes whose streams capture other topics than this one's.
        copies: publications that were stored, and sent over the bus too because of them.
        divided: nodes with another number of partitions than this one.
    """

    nodes: int
    questions: int
    unanswered: int
    unreadable: int
    dropped: int
    differing: int
    copies: int
    divided: int


class Cluster:
    """The other nodes, heard over the bus; see ``Peers``.

    Attributes:
        forget_stream: lets go of what this node holds of a stream.
        told: by the kind of a question, what answers it; for those that this class doesn't know.
        change_subject: changes what a subject's connections to this node hear; returns how many there are.
    """

    def __init__(
        self,
        link: ControlLink,
        membership: Membership,
        administration: Administration,
        blocks: BlockList,
        *,
        facts: Callable[[], NodeInfo],
        clock: Callable[[], float],
        live: CapturedLive | None = None,
        partitions: PartitionDifference | None = None,
        forget_stream: Callable[[ForgetStream], None] | None = None,
    ) -> None:
        """Make it; ``live`` and ``partitions`` are told which nodes there are, to see what differs."""
        self._link = link
        self._membership = membership
        self._administration = administration
        self._blocks = blocks
        self._facts = facts
        self._clock = clock
        self._questions = Questions(link, seconds=ANSWER_SECONDS)
        self._repair = BlockRepair(blocks, membership, self._questions, administration, clock=clock)
        self._asked: asyncio.Queue[Control] = asyncio.Queue(_QUEUED_QUESTIONS)
        self._greeted = anyio.Event()
        self._audible = anyio.Event()
        self._live = live
        self._partitions = partitions
        self._dropped = 0
        self.forget_stream = forget_stream or _forget_nothing
        self.told: dict[type, Callable[[Any], Answer | Awaitable[Answer]]] = {}
        self.change_subject: Callable[[ChangeSubject], Awaitable[int]] = _change_nothing

    # For administration

    def others(self) -> list[Member]:
        """Every other node that is there, by name."""
        return self._membership.others(self._clock())

    def complete(self) -> bool:
        """Whether ``others`` are all there are, as far as can be known."""
        # The bus notices before heartbeats that don't come would tell.
        return self._link.hearing and self._membership.complete(self._clock())

    async def ask_one(self, node: str, question: Question) -> Answer | None:
        """Ask one node; None where it doesn't answer in time, or refuses."""
        return (await self._questions.ask(question, [node], to=node)).get(node)

    async def ask(self, question: Question, *, enough: Callable[[Answer], bool] | None = None) -> Told:
        """Ask every other node; returns when all have answered, or after ``ANSWER_SECONDS``."""
        others = {member.facts.node for member in self.others()}
        complete = self.complete()
        answers = await self._questions.ask(question, others, patient=not complete, enough=enough)
        missing = tuple(sorted(others - answers.keys()))
        return Told(answers, missing, complete=complete and not missing)

    def statistics(self) -> ClusterStatistics:
        """A snapshot for metrics and tests."""
        return ClusterStatistics(
            nodes=1 + len(self.others()),
            questions=self._questions.asked,
            unanswered=self._questions.unanswered,
            unreadable=self._link.unreadable,
            dropped=self._dropped + self._membership.turned_away,
            differing=0 if self._live is None else len(self._live.agreement.differing),
            copies=0 if self._live is None else self._live.copies,
            divided=0 if self._partitions is None else len(self._partitions.nodes),
        )

    # For the bus

    def receive(self, publication: Publication) -> None:
        """Take what a node, this one too, has told; never waits, never raises."""
        message = self._link.read(publication)
        if message is None:
            return
        own = message.node == self._link.node
        match message.body:
            case Beat() as beat:
                self._hear(message.node, beat)
            case Farewell():
                self._membership.left(message.node)
            case answer if isinstance(answer, ANSWERS):
                self._questions.answered(message, answer)
            case _ if not own:
                try:
                    self._asked.put_nowait(message)
                except asyncio.QueueFull:
                    self._dropped += 1

    def _hear(self, node: str, beat: Beat) -> None:
        now = self._clock()
        if node == self._link.node:
            self._membership.note_echo(now)
            self._audible.set()
            return
        if node != beat.facts.node:
            return
        self._membership.note_heartbeat(beat.facts, beat.blocks, now)
        if beat.hello:
            self._greeted.set()
        if self._live is not None and self._live.agreement.is_news(beat.facts):
            self._compare_streams(self._live)
        self._repair.compare(beat.blocks)

    def _compare_streams(self, live: CapturedLive) -> None:
        others = (member.facts for member in self.others())
        if live.compare(others, complete=self.complete()):
            # The others wait to hear it: what was published before they do may be missing to their clients.
            self._greeted.set()

    # For the node

    async def run(self) -> None:
        """Be one of the nodes until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._repair.run)
            tasks.start_soon(self._answer_questions)
            if self._live is not None:
                tasks.start_soon(self._live.run)
            while True:
                self._greeted = anyio.Event()
                await self._beat()
                with anyio.move_on_after(self._membership.rhythm.beat):
                    await self._greeted.wait()
                    # All nodes have heard the same hello: not all should answer in the same moment.
                    await anyio.sleep(random.uniform(0.01, _HELLO_SPREAD_SECONDS))  # noqa: S311 - no secret

    async def learn_blocks(self, seconds: float) -> bool:
        """Wait until this node, which has just begun to ``run``, knows whom the others keep out.

        Returns:
            Whether it does; False where it could not hear them within ``seconds``.
        """
        with anyio.move_on_after(seconds):
            await self._audible.wait()
            await anyio.sleep(_HELLO_ANSWER_SECONDS)
            await self._repair.fetch_all()
            return True
        return False

    async def leave(self) -> None:
        """Tell the others that this node ends."""
        with anyio.move_on_after(_FAREWELL_SECONDS), suppress(*_AWAY):
            await self._link.send(Farewell())

    async def _beat(self) -> None:
        now = self._clock()
        if self._live is not None:
            self._compare_streams(self._live)
        if self._partitions is not None:
            self._partitions.compare((member.facts for member in self.others()), now)
        try:
            await self._link.listen()
        except _AWAY as exc:
            # Told all the same: of a cluster's servers the one that is away may bring what this node alone is
            # told, and the others must not take it for gone.
            _log.debug("not all is heard: %s", exc)
        try:
            await self._link.send(
                Beat(self._facts(), self._blocks.digest(now), hello=self._membership.deaf(now))
            )
        except _AWAY as exc:
            _log.debug("no heartbeat: %s", exc)

    # Answers

    async def _answer_questions(self) -> None:
        while True:
            message = await self._asked.get()
            try:
                answer = await self._carry_out(message)
            except GatewayError as exc:
                # By this node's settings, which may be others than those of the node that asks.
                answer = Refused(str(exc))
            if answer is not None:
                with suppress(*_AWAY):
                    await self._send(answer, message)

    async def _carry_out(self, message: Control) -> Answer | None:
        administration = self._administration
        answer: Answer | None = None
        match message.body:
            case ListConnections(limit, after):
                answer = administration.connections(limit=limit, after=after)
            case EndSession(session):
                answer = Ended(int(administration.disconnect_session(session)))
            case EndSubject(subject, block):
                if block is not None:
                    self._blocks.learn(block, now=self._clock())
                answer = Ended(await administration.disconnect_subjects({subject}))
            case ListBlocks(after):
                answer = self._page_of_blocks(after)
            case ForgetStream() as purged:
                self.forget_stream(purged)
                answer = Forgotten()
            case ChangeSubject() as change:
                answer = Changed(await self.change_subject(change))
            case question:
                tell = self.told.get(type(question))
                told = None if tell is None else tell(question)
                answer = await told if isinstance(told, Awaitable) else told
        return answer

    def _page_of_blocks(self, after: str) -> Blocks:
        page = self._blocks.page(limit=_BLOCKS_PER_PAGE + 1, after=after, now=self._clock())
        more = len(page) > _BLOCKS_PER_PAGE
        page = page[:_BLOCKS_PER_PAGE]
        return Blocks(tuple(page), page[-1].subject if more else None)

    async def _send(self, answer: Answer, message: Control) -> None:
        while True:
            try:
                await self._link.send(answer, to=message.node, id=message.id)
            except BadControl as exc:
                answer = _smaller(answer) or Refused(str(exc))
            else:
                return


def _forget_nothing(_purged: ForgetStream) -> None:
    """What a node does that reads no stream."""


async def _change_nothing(_change: ChangeSubject) -> int:
    """What a node does that has no connections."""
    return 0


def _smaller(answer: Answer) -> Answer | None:
    """The first half of what it lists; who asked for a page goes on from there."""
    if isinstance(answer, Connections) and len(answer.connections) > 1:
        connections = answer.connections[: len(answer.connections) // 2]
        return Connections(connections, connections[-1].session)
    if isinstance(answer, SlowConnections) and len(answer.connections) > 1:
        return SlowConnections(answer.connections[: len(answer.connections) // 2], more=True)
    if isinstance(answer, AuditPage) and len(answer.records) > 1:
        return AuditPage(answer.records[: len(answer.records) // 2], more=True)
    if isinstance(answer, Described) and answer.details is not None:
        details = answer.details
        if details.filters or any(details.grants.values()):
            filters = details.filters[: len(details.filters) // 2]
            grants = {kind: told[: len(told) // 2] for kind, told in details.grants.items()}
            return Described(replace(details, filters=filters, grants=grants))
    if isinstance(answer, Blocks) and len(answer.blocks) > 1:
        blocks = answer.blocks[: len(answer.blocks) // 2]
        return Blocks(blocks, blocks[-1].subject)
    return None
