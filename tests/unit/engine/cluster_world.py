"""Several nodes of one gateway over a bus in memory that can be cut, on a clock that jumps."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from gateway.codecs.control_v1 import ControlV1
from gateway.core.cluster.block_list import BlockList
from gateway.core.cluster.info import ConnectionDetails, ConnectionInfo, NodeInfo
from gateway.core.cluster.membership import Membership
from gateway.engine.administration import Administration
from gateway.engine.cluster.administration import ClusterAdministration
from gateway.engine.cluster.control_link import ControlLink
from gateway.engine.cluster.node import Cluster
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.sessions import Sessions
from gateway.errors import BusUnavailable

from .virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from gateway.core.messages.publication import Publication
    from gateway.core.session.close_codes import CloseCode
    from gateway.errors import GatewayError

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """Run ``main`` on a clock that jumps."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


class Client:
    """A session that remembers how it was ended."""

    def __init__(self, name: str, subject: str | None = None) -> None:
        self.id = name
        self.subject = subject
        self.peer = "peer"
        self.waiting = 0
        self.ended: list[tuple[CloseCode, GatewayError]] = []

    def facts(self) -> ConnectionInfo:
        return ConnectionInfo(self.id, self.subject, self.peer, "websocket", 0, 0, 0, self.waiting)

    def details(self) -> ConnectionDetails:
        return ConnectionDetails(self.facts())

    def expel(self, code: CloseCode, error: GatewayError) -> None:
        self.ended.append((code, error))

    def check(self, now: float) -> float:
        return now + 10

    def send_away(self, farewell: object, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...


class Wire:
    """One node's door to a bus in memory: what is published is heard before ``publish`` returns.

    All are in one partition, as some nodes are on a bus that has few: what one is told, others hear.

    Attributes:
        cut: nothing goes out, and nothing comes in.
        away: topics of this kind alone do not come in.
        told: what this node has published.
    """

    def __init__(self, wires: list[Wire], deliver: Callable[[Publication], None] | None = None) -> None:
        self.wires = wires
        self.deliver = deliver
        self.cut = False
        self.away: set[str] = set()
        self.heard: set[str] = set()
        self.told: list[Publication] = []
        wires.append(self)

    def publish(self, publication: Publication) -> None:
        if self.cut:
            raise BusUnavailable("cut")
        self.told.append(publication)
        for wire in self.wires:
            if (
                wire.deliver is not None
                and not wire.cut
                and wire.heard
                and publication.topic not in wire.away
            ):
                wire.deliver(publication)

    def subscribe(self, topic_filter: str) -> None:
        if self.cut or topic_filter in self.away:
            raise BusUnavailable("cut")
        self.heard.add(topic_filter)

    def hears(self, topic_filter: str) -> bool:
        return topic_filter in self.heard - self.away and not self.cut


def make_sessions(*clients: Client) -> Sessions:
    sessions = Sessions(limit=10_000, clock=lambda: 0.0, refusals=Refusals())
    for each in clients:
        sessions.attach(each, check_at=10)
    return sessions


class Node:
    """One node, its clients and its way to the others."""

    def __init__(
        self, name: str, wires: list[Wire], *clients: Client, blocks: BlockList | None = None
    ) -> None:
        self.name = name
        self.wire = Wire(wires)
        self.blocks = BlockList() if blocks is None else blocks
        self.local = Administration(make_sessions(*clients))
        self.cluster = Cluster(
            ControlLink(self.wire, ControlV1(), node=name),  # type: ignore[arg-type]  # no more of a bus is used
            Membership(),
            self.local,
            self.blocks,
            facts=self.facts,
            clock=now,
        )
        self.wire.deliver = self.cluster.receive
        self.administration = ClusterAdministration(
            self.local, self.cluster, self.blocks, facts=self.facts, clock=now, wall_clock=lambda: 1000.0
        )
        self.cluster.told |= self.administration.told

    def facts(self) -> NodeInfo:
        return NodeInfo(self.name, "host", "1.0", 0, 0, 0)

    def knows(self) -> list[str]:
        """The names of the other nodes, as far as this one has heard."""
        return [member.facts.node for member in self.cluster.others()]


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    """Have ``nodes`` be there, and know each other."""
    tasks = [asyncio.create_task(each.cluster.run()) for each in nodes]
    await asyncio.sleep(4)
    try:
        yield
    finally:
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.wait(tasks)
