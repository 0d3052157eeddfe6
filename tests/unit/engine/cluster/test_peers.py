"""A gateway of one node: everything that is asked of all is complete without anybody else."""

from __future__ import annotations

import pytest

from gateway.core.cluster.block_list import BlockList
from gateway.core.cluster.control import Ended, ListConnections
from gateway.core.cluster.info import NodeInfo
from gateway.engine.administration import Administration
from gateway.engine.cluster.administration import ClusterAdministration
from gateway.engine.cluster.peers import NoPeers, Told
from gateway.errors import NotFound
from tests.unit.engine.cluster_world import Client, make_sessions


def alone(*clients: Client) -> ClusterAdministration:
    return ClusterAdministration(
        Administration(make_sessions(*clients)),
        NoPeers(),
        BlockList(),
        facts=lambda: NodeInfo("a", "host", "1.0", 0, 0, 0),
        clock=lambda: 0.0,
        wall_clock=lambda: 0.0,
    )


async def test_nobody_answers_and_nobody_is_missing() -> None:
    peers = NoPeers()
    assert (peers.others(), peers.complete()) == ([], True)
    assert await peers.ask(ListConnections(1, ""), enough=lambda _: True) == Told({}, (), complete=True)


async def test_what_the_node_does_alone_is_done_by_all() -> None:
    administration = alone(Client("s1", "ann"))
    page, reach = await administration.connections(limit=10)
    assert [(node, facts.session) for node, facts in page.connections] == [("a", "s1")]
    done = await administration.disconnect_subject("ann", block_seconds=None)
    assert done.disconnected == 1
    for each in (reach, done.reach):
        assert (each.nodes, each.missing, each.complete) == (["a"], [], True)


async def test_a_session_that_this_node_does_not_have_is_nowhere() -> None:
    with pytest.raises(NotFound):
        await alone().disconnect_session("s1")


def test_answers_are_nobodys_unless_they_are_told() -> None:
    one, other = Told(), Told()
    assert one == other
    assert one.answers is not other.answers
    assert Told({"a": Ended(1)}) != one
