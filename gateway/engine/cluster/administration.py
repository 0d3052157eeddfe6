"""The use case administration for the whole gateway: this node acts at once, the others are asked.

While others can't be reached it acts on this node all the same: who is to be kept out must not stay because
some node is away. Each answer says who has done it, who has not, and whether that is everybody.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.cluster.audit import AuditPart, AuditTrail, Place
from gateway.core.cluster.connection_pages import MergedPage, merge, slowest
from gateway.core.cluster.control import (
    MOST_PER_PAGE,
    AskAudit,
    AskDeliveries,
    AuditPage,
    Connections,
    DeliveriesPage,
    Described,
    DescribeSession,
    DrainNode,
    Ended,
    EndSession,
    EndSubject,
    ForgetStream,
    Forgotten,
    ListConnections,
    SearchConnections,
    SlowConnections,
    is_name,
)
from gateway.engine.cluster.peers import Told
from gateway.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.core.cluster.block_list import BlockList
    from gateway.core.cluster.control import Answer
    from gateway.core.cluster.info import ConnectionDetails, HookDelivery, NodeInfo
    from gateway.core.cluster.membership import Member
    from gateway.engine.administration import Administration
    from gateway.engine.cluster.peers import Peers


@dataclass(frozen=True, slots=True)
class Reach:
    """How far something went.

    Attributes:
        nodes: those that have done it, by name.
        missing: those that have not, or not said so in time.
        complete: no node is missing, and there is none that the asked one may not know of.
    """

    nodes: list[str]
    missing: list[str]
    complete: bool


@dataclass(frozen=True, slots=True)
class Nodes:
    """All nodes.

    Attributes:
        own: about the node that answers.
        others: about the others, by name.
        now: the answering node's monotonic time, to compare with ``Member.heard``.
        complete: whether there is none that it may not know of.
    """

    own: NodeInfo
    others: list[Member]
    now: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Disconnection:
    """What became of a subject.

    Attributes:
        disconnected: connections that are being closed.
        blocked_until: milliseconds since 1970, or None.
        reach: how far it went.
    """

    disconnected: int
    blocked_until: int | None
    reach: Reach


class ClusterAdministration:
    """Looks at and ends the sessions of all nodes, and drains nodes.

    Attributes:
        drain: begins to end this node; returns whether it can.
        hook_deliveries: this node's newest deliveries to a hook, so many at most.
        trail: what administrators did on this node.
    """

    def __init__(
        self,
        local: Administration,
        peers: Peers,
        blocks: BlockList,
        *,
        facts: Callable[[], NodeInfo],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._local = local
        self._peers = peers
        self._blocks = blocks
        self._facts = facts
        self._node = facts().node
        self._clock = clock
        self._wall_clock = wall_clock
        self.trail = AuditTrail(self._node)
        self.drain: Callable[[], bool] = _cannot_end
        self.hook_deliveries: Callable[[str, int], Sequence[HookDelivery]] = _no_deliveries

    @property
    def told(self) -> dict[type, Callable[[Any], Answer | Awaitable[Answer]]]:
        """What answers other nodes' questions, by their kind."""
        return {
            SearchConnections: self._search_own,
            DescribeSession: lambda asked: self._local.describe(asked.session),
            DrainNode: self._drain_own,
            AskAudit: self._audit_own,
            AskDeliveries: self._deliveries_own,
        }

    def nodes(self) -> Nodes:
        """Return every node that is there, as far as this one has heard."""
        return Nodes(self._facts(), self._peers.others(), self._clock(), self._peers.complete())

    async def connections(self, *, limit: int, after: str = "") -> tuple[MergedPage, Reach]:
        """Return the ``limit`` connections whose sessions' names follow ``after``; pages may be shorter."""
        own = self._local.connections(limit=limit, after=after)
        told = await self._peers.ask(ListConnections(limit, after))
        pages = {self._node: own}
        pages |= {node: page for node, page in told.answers.items() if isinstance(page, Connections)}
        return merge(pages, limit=limit), self.reach(told)

    async def search(self, asked: SearchConnections) -> tuple[MergedPage, Reach]:
        """Return the connections that are like what is ``asked`` for; as ``connections``, if not ``slow``."""
        own = await self._search_own(asked)
        told = await self._peers.ask(asked)
        answers = {self._node: own, **told.answers}
        if asked.slow:
            slow = {node: each for node, each in answers.items() if isinstance(each, SlowConnections)}
            return MergedPage(slowest(slow, limit=asked.limit), None), self.reach(told)
        pages = {node: each for node, each in answers.items() if isinstance(each, Connections)}
        return merge(pages, limit=asked.limit), self.reach(told)

    async def describe_session(self, session: str) -> tuple[str, ConnectionDetails, Reach]:
        """Return the node that has a session, and what there is to know of it.

        Raises:
            NotFound: no node has such a session.
            Unavailable: those that have answered haven't, but not all have.
        """
        if not is_name(session):
            raise NotFound(f"no session {session[:64]!r}")
        if (own := self._local.describe(session).details) is not None:
            return self._node, own, self.reach(Told())
        told = await self._peers.ask(DescribeSession(session), enough=_has_described)
        for node, answer in told.answers.items():
            if isinstance(answer, Described) and answer.details is not None:
                return node, answer.details, self.reach(Told({node: answer}))
        raise self._nowhere(session, told)

    async def drain_node(self, node: str) -> None:
        """Have a node drain and end.

        Raises:
            NotFound: there is no such node.
            Unavailable: it doesn't answer, or can't end by itself.
        """
        if node == self._node:
            answer: Answer | None = self._drain_own()
        elif any(member.facts.node == node for member in self._peers.others()):
            answer = await self._peers.ask_one(node, DrainNode())
        else:
            raise NotFound(f"no node {node[:64]!r}")
        if not isinstance(answer, Ended) or not answer.count:
            raise Unavailable(f"node {node!r} does not answer, or can't end by itself")

    async def audit(self, *, limit: int, before: Place | None) -> tuple[dict[str, AuditPart], Reach]:
        """Return what administrators did last, by node, as far as it stands before a place."""
        asked = AskAudit(limit, before)
        told = await self._peers.ask(asked)
        parts = {self._node: self.trail.page(limit, before)}
        parts |= {
            node: AuditPart(each.records, each.more)
            for node, each in told.answers.items()
            if isinstance(each, AuditPage)
        }
        return parts, self.reach(told)

    def _audit_own(self, asked: AskAudit) -> AuditPage:
        return AuditPage(
            *self.trail.page(asked.limit, None if asked.before is None else Place(*asked.before))
        )

    async def deliveries(self, hook: str, limit: int) -> tuple[list[tuple[str, HookDelivery]], Reach]:
        """Return the newest ``limit`` deliveries to a hook, each with its node, the newest first."""
        told = await self._peers.ask(AskDeliveries(hook, limit))
        found = [(self._node, each) for each in self.hook_deliveries(hook, limit)]
        found += [
            (node, each)
            for node, page in told.answers.items()
            if isinstance(page, DeliveriesPage)
            for each in page.deliveries
        ]
        newest = heapq.nlargest(limit, found, key=lambda each: (each[1].time, each[0], each[1].number))
        return newest, self.reach(told)

    async def delivery(self, hook: str, number: int, node: str) -> HookDelivery | None:
        """Return one of the last deliveries to a hook that a node took; None where it isn't among them.

        Raises:
            NotFound: there is no such node.
            Unavailable: it doesn't answer.
        """
        if node in {"", self._node}:
            found = self.hook_deliveries(hook, MOST_PER_PAGE)
        elif any(member.facts.node == node for member in self._peers.others()):
            page = await self._peers.ask_one(node, AskDeliveries(hook, MOST_PER_PAGE))
            if not isinstance(page, DeliveriesPage):
                raise Unavailable(f"node {node!r} does not answer")
            found = page.deliveries
        else:
            raise NotFound(f"no node {node[:64]!r}")
        return next((each for each in found if each.number == number), None)

    def _deliveries_own(self, asked: AskDeliveries) -> DeliveriesPage:
        return DeliveriesPage(tuple(self.hook_deliveries(asked.hook, asked.limit)))

    async def _search_own(self, asked: SearchConnections) -> Connections | SlowConnections:
        if asked.node not in {"", self._node}:
            return SlowConnections(()) if asked.slow else Connections((), None)
        return await self._local.search(asked)

    def _drain_own(self, _asked: DrainNode | None = None) -> Ended:
        return Ended(int(self.drain()))

    async def disconnect_session(self, session: str) -> None:
        """End one connection with 4403, wherever it is.

        Raises:
            NotFound: no node has such a session.
            Unavailable: those that have answered haven't, but not all have.
        """
        if not is_name(session):
            raise NotFound(f"no session {session[:64]!r}")
        if self._local.disconnect_session(session):
            return
        told = await self._peers.ask(EndSession(session), enough=_has_ended)
        if any(_has_ended(answer) for answer in told.answers.values()):
            return
        raise self._nowhere(session, told)

    async def disconnect_subject(self, subject: str, *, block_seconds: float | None) -> Disconnection:
        """End every connection of ``subject`` with 4403, and refuse new ones for ``block_seconds``.

        0 seconds lift an earlier block, None leaves it as it is.

        Raises:
            TooMany: the block list is full; nothing was ended.
        """
        block, blocked_until = None, None
        if block_seconds is not None:
            now = self._wall_clock()
            blocked_until = int((now + block_seconds) * 1000) if block_seconds else None
            # First, or a client that is quick could be back before it is blocked.
            block = self._blocks.block(
                subject, block_seconds, node=self._node, time=int(now * 1000), now=self._clock()
            )
        ended = await self._local.disconnect_subjects({subject})
        told = await self._peers.ask(EndSubject(subject, block))
        ended += sum(answer.count for answer in told.answers.values() if isinstance(answer, Ended))
        return Disconnection(ended, blocked_until, self.reach(told))

    async def forget_stream(self, purged: ForgetStream) -> Reach:
        """Have every node let go of what it holds of a stream; this one has done so."""
        told = await self._peers.ask(purged)
        done = {node for node, answer in told.answers.items() if isinstance(answer, Forgotten)}
        missing = sorted({*told.missing, *told.answers} - set(done))
        return Reach(sorted({self._node, *done}), missing, told.complete and not missing)

    def _nowhere(self, session: str, told: Told) -> NotFound | Unavailable:
        if told.complete:
            return NotFound(f"no session {session!r}")
        missing = ", ".join(told.missing) or "some may not be known yet"
        return Unavailable(f"no session {session!r} on the nodes that have answered; missing: {missing}")

    def reach(self, told: Told) -> Reach:
        """How far a question went to which the others have ``told`` their answers."""
        return Reach(sorted({self._node, *told.answers}), list(told.missing), told.complete)


def _cannot_end() -> bool:
    """What a node answers whose process is another server's."""
    return False


def _no_deliveries(hook: str, limit: int) -> Sequence[HookDelivery]:  # noqa: ARG001 - nobody took any
    return ()


def _has_described(answer: Answer) -> bool:
    return isinstance(answer, Described) and answer.details is not None


def _has_ended(answer: Answer) -> bool:
    return isinstance(answer, Ended) and answer.count > 0
