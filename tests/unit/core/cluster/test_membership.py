from __future__ import annotations

from gateway.core.cluster.info import NodeInfo
from gateway.core.cluster.membership import Membership, Rhythm

RHYTHM = Rhythm(beat=2.0, deaf=5.0, silence=7.0)


def facts(node: str, *, connections: int = 0) -> NodeInfo:
    return NodeInfo(node, "host", "1.0", 0, connections, 0)


def names(membership: Membership, now: float) -> list[str]:
    return [member.facts.node for member in membership.others(now)]


def listening(*, since: float = 0.0, until: float = 0.0, entries: int = 100) -> Membership:
    membership = Membership(RHYTHM, entries=entries)
    listen(membership, since, until)
    return membership


def listen(membership: Membership, since: float, until: float) -> None:
    now = since
    while now <= until:
        membership.note_echo(now)
        now += RHYTHM.beat


def test_a_node_is_there_while_it_is_heard() -> None:
    membership = listening(until=10.0)
    membership.note_heartbeat(facts("b"), "0", 4.0)
    membership.note_heartbeat(facts("a", connections=5), "0", 10.0)
    assert names(membership, 11.0) == ["a", "b"]
    assert membership.others(11.0)[0].facts.connections == 5
    assert names(membership, 11.1) == ["a"]


def test_a_node_that_says_farewell_goes_at_once() -> None:
    membership = listening()
    membership.note_heartbeat(facts("a"), "0", 0.0)
    membership.left("a")
    membership.left("never heard of")
    assert names(membership, 0.0) == []


def test_nobody_goes_while_the_node_hears_nothing_itself() -> None:
    membership = listening(until=10.0)
    membership.note_heartbeat(facts("a"), "0", 10.0)
    assert membership.deaf(16.0)
    assert names(membership, 1000.0) == ["a"]
    # It hears again: the other one is given the whole time.
    listen(membership, 1000.0, 1008.0)
    assert names(membership, 1007.0) == ["a"]
    assert names(membership, 1007.1) == []


def test_it_is_complete_once_every_other_node_has_had_time_to_be_heard() -> None:
    membership = Membership(RHYTHM)
    assert not membership.complete(0.0)
    listen(membership, 0.0, 4.0)
    assert not membership.complete(2.9)
    assert membership.complete(3.0)
    assert not membership.complete(9.1), "deaf"
    membership.note_echo(9.1)
    assert not membership.complete(10.0)
    listen(membership, 11.1, 13.1)
    assert membership.complete(12.1)


def test_the_others_are_bounded() -> None:
    membership = listening(until=8.0, entries=2)
    for name in ("a", "b", "c"):
        membership.note_heartbeat(facts(name), "0", 0.0)
    membership.note_heartbeat(facts("b"), "0", 5.0)
    assert (names(membership, 6.0), membership.turned_away) == (["a", "b"], 1)
    # Room for a new one once another has gone.
    membership.note_heartbeat(facts("c"), "0", 8.0)
    assert names(membership, 8.0) == ["b", "c"]
