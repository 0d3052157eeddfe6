"""What the nodes of a gateway know of each other and do for each other, over each bus that joins nodes.

``shared`` is one local bus that several nodes hear: the same without a network.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import anyio
import pytest

from gateway.bus.local import LocalBus
from gateway.bus.redis.bus import RedisBus, RedisLimits
from gateway.bus.redis.partitions import partition_of
from gateway.codecs.control_v1 import ControlV1
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.cluster.block_list import BlockList
from gateway.core.cluster.control import ALL_NODES, Ended, EndSession, ListConnections, topic_of
from gateway.core.cluster.info import ConnectionInfo, NodeInfo
from gateway.core.cluster.membership import Membership, Rhythm
from gateway.core.messages.publication import Publication
from gateway.engine.administration import Administration
from gateway.engine.cluster import node as node_module
from gateway.engine.cluster.administration import ClusterAdministration
from gateway.engine.cluster.control_link import ControlLink
from gateway.engine.cluster.node import ANSWER_SECONDS, Cluster
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.sessions import Sessions
from gateway.errors import NotFound, Unavailable
from tests.patience import HANG_SECONDS, PATIENCE
from tests.redis_process import RunningRedis, redis_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.bus.base import Bus

CODEC = GatewayV1()
RHYTHM = Rhythm(beat=0.2, deaf=10.0, silence=15.0)
"""Beats often, and is patient with a machine that stands still meanwhile."""


class SharedBus(LocalBus):
    """One bus for all nodes of the process; it runs as long as one of them does."""

    def __init__(self) -> None:
        super().__init__()
        self.hearers: list[Callable[[Publication], None]] = []

    def join(self) -> Bus:
        return _Joined(self)


class _Joined(LocalBus):
    def __init__(self, shared: SharedBus) -> None:
        super().__init__()
        self._shared = shared
        self._deliver = None

    async def start(self, deliver, lost) -> None:
        self._deliver = deliver
        self._shared.hearers.append(deliver)
        await super().start(self._tell_all, lost)

    async def stop(self) -> None:
        self._shared.hearers.remove(self._deliver)
        await super().stop()

    def _tell_all(self, publication) -> None:
        for hear in list(self._shared.hearers):
            hear(publication)


@dataclass(eq=False)
class Connected:
    """A session that only remembers how it was ended."""

    id: str
    subject: str | None
    sessions: Sessions
    expelled: list[int] = field(default_factory=list)

    def facts(self) -> ConnectionInfo:
        return ConnectionInfo(self.id, self.subject, "127.0.0.1:1", "websocket", 0, 0, 0, 0)

    def expel(self, code, error) -> None:
        self.expelled.append(int(code))
        self.sessions.detach(self)


class Node:
    """One node's parts that have to do with the others, as the gateway wires them."""

    def __init__(self, bus: Bus, clock_ahead: float, name: str | None = None) -> None:
        self.ahead = clock_ahead

        def clock() -> float:
            return time.monotonic() + self.ahead

        self.name = name or secrets.token_hex(4)
        self.bus = bus
        self.blocks = BlockList()
        self.sessions = Sessions(limit=10_000, clock=clock, refusals=Refusals())
        local = Administration(self.sessions)
        self.cluster = Cluster(
            ControlLink(bus, ControlV1(), node=self.name),
            Membership(RHYTHM),
            local,
            self.blocks,
            facts=self.facts,
            clock=clock,
        )
        self.administration = ClusterAdministration(
            local,
            self.cluster,
            self.blocks,
            facts=self.facts,
            clock=clock,
            wall_clock=lambda: time.time() + clock_ahead,
        )
        self.cluster.told |= self.administration.told
        self.clock = clock

    def facts(self) -> NodeInfo:
        return NodeInfo(self.name, "host", "1", 0, len(self.sessions.open), 0)

    def connect(self, subject: str | None = None) -> Connected:
        session = Connected(secrets.token_hex(8), subject, self.sessions)
        self.sessions.attach(session, check_at=self.clock() + 3600)
        return session

    def blocked(self, subject: str) -> bool:
        return self.blocks.blocked(subject, self.clock())

    def digest(self) -> str:
        return self.blocks.digest(self.clock())

    @asynccontextmanager
    async def running(self):
        await self.bus.start(self.cluster.receive, lambda affects, dropped: None)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.cluster.run)
                yield self
                tasks.cancel_scope.cancel()
        finally:
            await self.bus.stop()


@dataclass
class Gateway:
    make: Callable[[], Bus]
    started: int = 0

    def node(self, name: str | None = None) -> Node:
        # No two nodes agree on the time, and the first one is far ahead.
        self.started += 1
        return Node(self.make(), 1_000_000.0 / self.started, name)

    @asynccontextmanager
    async def running(self, count: int = 3):
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(self.node().running()) for _ in range(count)]
            await until(lambda: all(knows(node, count) for node in nodes))
            yield nodes


def knows(node: Node, count: int) -> bool:
    return node.cluster.complete() and len(node.cluster.others()) == count - 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningRedis]]:
    with redis_cluster(tmp_path_factory.mktemp("cluster"), silence=HANG_SECONDS) as servers:
        yield servers


@pytest.fixture(params=["shared", "redis", "cluster"])
def gateway(request: pytest.FixtureRequest) -> Gateway:
    if request.param == "shared":
        return Gateway(SharedBus().join)
    if request.param == "redis":
        url = request.getfixturevalue("module_redis_server").url
    else:
        servers = request.getfixturevalue("module_cluster")
        url = "redis+cluster://" + ",".join(server.address for server in servers)
    prefix = secrets.token_hex(4)
    limits = RedisLimits(timeout=HANG_SECONDS, silence=HANG_SECONDS)
    return Gateway(
        lambda: RedisBus(url, node=secrets.token_hex(4), encoder=CODEC, prefix=prefix, limits=limits)
    )


@pytest.fixture(autouse=True)
def patient_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers at all has the time that a busy machine takes."""
    monkeypatch.setattr(node_module, "ANSWER_SECONDS", HANG_SECONDS)


async def let_silence_pass(nodes: Sequence[Node]) -> None:
    """By these nodes' clocks, in steps within which each hears the other once more."""
    names = {node.name for node in nodes}

    def heard_since(node: Node, moment: float) -> bool:
        return all(each.heard >= moment for each in node.cluster.others() if each.facts.node in names)

    for _ in range(4):
        for node in nodes:
            node.ahead += RHYTHM.silence / 4
        moved = [(node, node.clock()) for node in nodes]
        await until(lambda moved=moved: all(heard_since(*each) for each in moved))


async def test_nodes_with_different_clocks_know_of_each_other(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        nodes[1].connect()
        names = {node.name for node in nodes}
        for node in nodes:
            listed = node.administration.nodes()
            assert {listed.own.node, *(each.facts.node for each in listed.others)} == names
            assert listed.complete
            assert all(-0.001 <= listed.now - each.heard < RHYTHM.silence for each in listed.others)

        def figures_have_come() -> bool:
            seen = {each.facts.node: each.facts.connections for each in nodes[0].cluster.others()}
            return seen == {nodes[1].name: 1, nodes[2].name: 0}

        await until(figures_have_come)


async def test_a_node_that_falls_silent_is_missing_and_then_gone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "ANSWER_SECONDS", ANSWER_SECONDS)
    async with gateway.running(2) as nodes:
        async with gateway.node().running() as silent:
            await until(lambda: all(knows(node, 3) for node in nodes))
        began = time.monotonic()
        told = await nodes[0].cluster.ask(ListConnections(10, ""))
        assert time.monotonic() - began < PATIENCE * ANSWER_SECONDS
        assert set(told.answers) == {nodes[1].name}
        assert (told.missing, told.complete) == ((silent.name,), False)
        await let_silence_pass(nodes)
        await until(lambda: all(knows(node, 2) for node in nodes))
        assert (await nodes[0].cluster.ask(ListConnections(10, ""))).complete
        assert nodes[0].cluster.statistics().unanswered == 1


async def test_who_takes_leave_is_gone_at_once(gateway: Gateway) -> None:
    async with gateway.running(2) as (stays, leaves):
        await leaves.cluster.leave()
        await until(lambda: not stays.cluster.others())
        await leaves.bus.stop()
        await leaves.bus.start(lambda _: None, lambda affects, dropped: None)


async def test_connections_of_all_nodes_are_merged_also_where_they_do_not_fit_one_message(
    gateway: Gateway,
) -> None:
    async with gateway.running() as nodes:
        opened = {
            session.id: node.name
            for node in nodes
            for session in [node.connect(f"{number}" + "é" * 1_000) for number in range(400)]
        }
        seen: list[tuple[str, str]] = []
        after: str | None = ""
        while after is not None:
            page, reach = await nodes[0].administration.connections(limit=1_000, after=after)
            assert reach.complete
            seen += [(facts.session, node) for node, facts in page.connections]
            after = page.next
        assert seen == sorted(opened.items())


async def test_a_session_is_ended_wherever_it_is(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        session = nodes[2].connect("ann")
        await nodes[0].administration.disconnect_session(session.id)
        assert session.expelled == [4403]
        with pytest.raises(NotFound):
            await nodes[0].administration.disconnect_session(session.id)
        with pytest.raises(NotFound):
            await nodes[0].administration.disconnect_session("not/a name")


async def test_a_subject_is_ended_and_blocked_everywhere_and_the_last_word_counts(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        sessions = [node.connect("eve") for node in nodes]
        done = await nodes[0].administration.disconnect_subject("eve", block_seconds=600)
        assert (done.disconnected, done.reach.complete) == (3, True)
        assert done.reach.nodes == sorted(node.name for node in nodes)
        assert [session.expelled for session in sessions] == [[4403]] * 3
        assert all(node.blocked("eve") for node in nodes)
        await nodes[2].administration.disconnect_subject("eve", block_seconds=0.01)
        await until(lambda: not any(node.blocked("eve") for node in nodes))
        assert len({node.digest() for node in nodes}) == 1


async def test_who_joins_later_learns_all_blocks_and_ends_whom_they_concern(gateway: Gateway) -> None:
    async with gateway.running(2) as nodes:
        # More than one page, and more than fits one message.
        for number in range(600):
            nodes[0].blocks.block(
                f"{number}" + "é" * 1_000, 600, node=nodes[0].name, time=1, now=nodes[0].clock()
            )
        await nodes[0].administration.disconnect_subject("eve", block_seconds=600)
        late = gateway.node()
        slipped_in = late.connect("eve")
        async with late.running():
            await until(lambda: len({node.digest() for node in (*nodes, late)}) == 1)
            assert len(late.blocks) == 601
            await until(lambda: slipped_in.expelled == [4403])


async def test_only_the_node_that_is_meant_drains_also_where_another_hears_it_too(gateway: Gateway) -> None:
    partition = partition_of(topic_of("meant"), 1)
    name = next(f"near{n}" for n in count() if partition_of(topic_of(f"near{n}"), 1) == partition)
    async with gateway.running(1) as (asking,), AsyncExitStack() as stack:
        meant, near = [
            await stack.enter_async_context(gateway.node(each).running()) for each in ("meant", name)
        ]
        await until(lambda: all(knows(node, 3) for node in (asking, meant, near)))
        drained: list[str] = []
        for node in (meant, near):
            node.administration.drain = lambda name=node.name: not drained.append(name)
        await asking.administration.drain_node("meant")
        # It travels the same way, so whoever has answered it has heard what came before.
        assert await asking.cluster.ask_one(near.name, ListConnections(1, "")) is not None
        assert drained == ["meant"]
        assert near.cluster.statistics().unreadable == 0


async def test_what_nobody_understands_does_no_harm(gateway: Gateway) -> None:
    async with gateway.running(2) as nodes:
        for topic in (ALL_NODES, topic_of(nodes[1].name)):
            for data in (b'{"v":99}', b"[1,2]", b'"' + b"x" * 300_000 + b'"'):
                told = nodes[0].bus.publish(Publication(topic, "x", 0, data))
                if told is not None:
                    await told
        await until(lambda: nodes[1].cluster.statistics().unreadable >= 6)
        assert (await nodes[0].cluster.ask(EndSession("0"))).answers == {nodes[1].name: Ended(0)}


async def test_more_questions_than_have_room_are_unanswered_not_unbounded(gateway: Gateway) -> None:
    async with gateway.running(2) as nodes:
        told = await asyncio.gather(*(nodes[0].cluster.ask(EndSession("0")) for _ in range(200)))
        assert sum(each.complete for each in told) >= 64
        assert all(each.complete or each.missing == (nodes[1].name,) for each in told)


async def test_without_the_bus_a_node_acts_by_itself_and_says_so(gateway: Gateway) -> None:
    async with gateway.running(2) as nodes:
        session = nodes[0].connect("eve")
        await nodes[0].bus.stop()
        done = await nodes[0].administration.disconnect_subject("eve", block_seconds=600)
        assert (done.disconnected, session.expelled) == (1, [4403])
        assert (done.reach.missing, done.reach.complete) == ([nodes[1].name], False)
        with pytest.raises(Unavailable, match=nodes[1].name):
            await nodes[0].administration.disconnect_session("0")
        await nodes[0].bus.start(nodes[0].cluster.receive, lambda affects, dropped: None)
        await until(lambda: nodes[1].blocked("eve"))
