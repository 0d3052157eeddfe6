"""What an administrator is told of all nodes: what was done, by whom, and whether that is everybody."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cluster.block_list import BlockList
from gateway.core.cluster.control import (
    Answer,
    Connections,
    Ended,
    EndSession,
    EndSubject,
    ForgetStream,
    Forgotten,
    Question,
    Refused,
)
from gateway.core.cluster.info import NodeInfo
from gateway.core.session.close_codes import CloseCode
from gateway.engine.administration import Administration
from gateway.engine.cluster.administration import ClusterAdministration
from gateway.engine.cluster.peers import Told
from gateway.errors import NotFound, TooMany, Unavailable
from tests.unit.engine.cluster_world import Client, make_sessions

HERE = NodeInfo("here", "host", "1.0", 0, 0, 0)


class Others:
    """The other nodes, with answers that are made up."""

    def __init__(self, told: Told | None = None) -> None:
        self.told = told or Told()
        self.asked: list[Question] = []

    def others(self) -> list[object]:
        return []

    def complete(self) -> bool:
        return self.told.complete

    async def ask(self, question: Question, *, enough: object = None) -> Told:
        self.asked.append(question)
        return self.told


class Pages(Others):
    """Other nodes that hold sessions, and tell them as a node does."""

    def __init__(self, nodes: dict[str, list[str]]) -> None:
        super().__init__()
        self.locals = {
            node: Administration(make_sessions(*map(Client, names))) for node, names in nodes.items()
        }

    async def ask(self, question: Question, *, enough: object = None) -> Told:
        answers: dict[str, Answer] = {
            node: each.connections(limit=question.limit, after=question.after)  # type: ignore[union-attr]
            for node, each in self.locals.items()
        }
        return Told(answers)


def administer(others: Others, *clients: Client, blocks: BlockList | None = None) -> ClusterAdministration:
    return ClusterAdministration(
        Administration(make_sessions(*clients)),
        others,  # type: ignore[arg-type]  # as far as it is used
        BlockList() if blocks is None else blocks,
        facts=lambda: HERE,
        clock=lambda: 50.0,
        wall_clock=lambda: 1000.0,
    )


@given(
    st.dictionaries(st.integers(0, 99), st.sampled_from(["a", "here", "z"]), max_size=25), st.integers(1, 6)
)
def test_pages_of_all_nodes_hold_every_connection_once_and_in_order(
    numbers: dict[int, str], limit: int
) -> None:
    nodes = {f"{number:02}": node for number, node in numbers.items()}
    held: dict[str, list[str]] = {"a": [], "here": [], "z": []}
    for session, node in nodes.items():
        held[node].append(session)
    own = held.pop("here")
    administration = administer(Pages(held), *map(Client, own))
    found: list[tuple[str, str]] = []

    async def walk() -> None:
        after: str | None = ""
        while after is not None:
            page, reach = await administration.connections(limit=limit, after=after)
            assert len(page.connections) <= limit
            assert reach.complete
            found.extend((facts.session, node) for node, facts in page.connections)
            after = page.next

    asyncio.run(walk())
    assert found == sorted(nodes.items())


async def test_a_session_of_this_node_is_ended_without_asking_the_others() -> None:
    others, client = Others(), Client("s1")
    await administer(others, client).disconnect_session("s1")
    assert [code for code, _ in client.ended] == [CloseCode.BLOCKED]
    assert others.asked == []


async def test_a_session_of_another_node_is_ended_there() -> None:
    others = Others(Told({"a": Ended(0), "b": Ended(1)}, missing=("c",), complete=False))
    await administer(others).disconnect_session("s1")
    assert others.asked == [EndSession("s1")]


@pytest.mark.parametrize(
    ("told", "error", "text"),
    [
        (Told({"a": Ended(0)}), NotFound, "no session 's1'"),
        (Told({"a": Ended(0)}, ("b",), complete=False), Unavailable, "missing: b"),
        (Told({}, (), complete=False), Unavailable, "may not be known yet"),
    ],
)
async def test_a_session_is_said_not_to_be_there_only_when_every_node_says_so(
    told: Told, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await administer(Others(told)).disconnect_session("s1")


@pytest.mark.parametrize("session", ["", "a/b", "$x", "x" * 65, "é"])
async def test_what_names_no_session_asks_nobody(session: str) -> None:
    others = Others()
    with pytest.raises(NotFound):
        await administer(others).disconnect_session(session)
    assert others.asked == []


async def test_who_is_blocked_is_blocked_before_anybody_is_asked_or_ended() -> None:
    blocks, client = BlockList(), Client("s1", "ann")
    seen: list[bool] = []
    client.expel = lambda code, error: seen.append(blocks.blocked("ann", 50.0))  # type: ignore[method-assign]
    others = Others(Told({"a": Ended(2)}, ("b",), complete=False))
    done = await administer(others, client, Client("s2", "bob"), blocks=blocks).disconnect_subject(
        "ann", block_seconds=30
    )
    assert seen == [True]
    assert (done.disconnected, done.blocked_until) == (3, 1_030_000)
    assert (done.reach.nodes, done.reach.missing, done.reach.complete) == (["a", "here"], ["b"], False)
    (question,) = others.asked
    assert isinstance(question, EndSubject)
    assert (question.subject, question.block and question.block.seconds) == ("ann", 30)


async def test_an_earlier_block_is_left_or_lifted_as_was_asked_for() -> None:
    blocks = BlockList()
    administration = administer(Others(), blocks=blocks)
    await administration.disconnect_subject("ann", block_seconds=30)
    left = await administration.disconnect_subject("ann", block_seconds=None)
    assert left.blocked_until is None
    assert blocks.blocked("ann", 50.0)
    lifted = await administration.disconnect_subject("ann", block_seconds=0)
    assert lifted.blocked_until is None
    assert not blocks.blocked("ann", 50.0)


async def test_a_block_that_has_no_room_ends_nobody() -> None:
    blocks, client, others = BlockList(entries=1), Client("s1", "ann"), Others()
    administration = administer(others, client, blocks=blocks)
    await administration.disconnect_subject("bob", block_seconds=3600)
    others.asked.clear()
    with pytest.raises(TooMany):
        await administration.disconnect_subject("ann", block_seconds=30)
    assert (client.ended, others.asked) == ([], [])


async def test_a_node_that_answers_something_else_holds_no_connections() -> None:
    others = Others(Told({"a": Ended(1), "b": Connections((Client("s2").facts(),), None)}))
    page, _ = await administer(others, Client("s1")).connections(limit=10)
    assert [(node, facts.session) for node, facts in page.connections] == [("here", "s1"), ("b", "s2")]


def test_all_nodes_are_told_with_this_one() -> None:
    nodes = administer(Others(Told(complete=False))).nodes()
    assert (nodes.own, nodes.others, nodes.now, nodes.complete) == (HERE, [], 50.0, False)


async def test_a_node_that_does_not_say_that_it_has_let_go_is_missing() -> None:
    others = Others(Told({"a": Forgotten(), "b": Refused("an older one")}, missing=("c",), complete=False))
    reach = await administer(others).forget_stream(ForgetStream("orders", "a/#", 7))
    assert others.asked == [ForgetStream("orders", "a/#", 7)]
    assert "a" in reach.nodes
    assert (reach.missing, reach.complete) == (["b", "c"], False)
