"""What nodes may say to each other, and on which topics: none that a client's wildcard would hear."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.cluster.block_list import Block
from gateway.core.cluster.control import (
    ALL_NODES,
    CONTROL_LEVEL,
    LONGEST_HOST,
    LONGEST_NAME,
    MOST_PER_PAGE,
    Beat,
    Blocks,
    Connections,
    Control,
    EndSession,
    EndSubject,
    Farewell,
    ListConnections,
    is_name,
    topic_of,
)
from gateway.core.cluster.info import ConnectionInfo, NodeInfo
from gateway.core.topics.grammar import matches, parse_topic

NODE = NodeInfo("n1", "host", "1.0", 0, 0, 0)
NAMES = st.text("abcXYZ019", min_size=1, max_size=LONGEST_NAME)
NO_NAMES = ("", "a/b", "+", "#", "a b", "a\n", "é", "٣", "a" * (LONGEST_NAME + 1))


def connection(session: str) -> ConnectionInfo:
    return ConnectionInfo(session, None, "peer", "websocket", 0, 0, 0, 0)


def block(subject: str) -> Block:
    return Block(subject, 1, "n1", 1, 60)


@given(NAMES, NAMES)
def test_each_node_has_a_topic_that_it_alone_hears(one: str, other: str) -> None:
    assume(one != other)
    topic = topic_of(one)
    assert parse_topic(topic) == topic
    assert not matches(topic_of(other), topic)
    assert not matches(ALL_NODES, topic)


@given(NAMES)
def test_no_wildcard_at_the_beginning_hears_what_nodes_say(node: str) -> None:
    for topic in (ALL_NODES, topic_of(node)):
        assert topic.startswith(CONTROL_LEVEL)
        assert not any(matches(each, topic) for each in ("#", "+/#", "+/+", "+/told", "+/nodes"))


@given(NAMES | st.text(max_size=LONGEST_NAME + 2))
def test_what_may_be_a_name_is_one_level_of_a_topic(text: str) -> None:
    if is_name(text):
        assert parse_topic(text) == text
        assert "/" not in text
        assert len(text.encode()) <= LONGEST_NAME


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_names_no_sender_no_session_and_no_node(name: str) -> None:
    assert not is_name(name)
    for make in (
        lambda: Control(name, "", Farewell()),
        lambda: EndSession(name),
        lambda: Beat(replace(NODE, node=name), "0", hello=False),
        lambda: Beat(NODE, name, hello=False),
    ):
        with pytest.raises(ValueError, match="a name is 1 to 64"):
            make()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "h" * (LONGEST_HOST + 1)},
        {"version": "1" * (LONGEST_NAME + 1)},
        {"streams": "a/b"},
        {"started": -1},
        {"connections": -1},
        {"subscriptions": -1},
        {"partitions": -1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_heartbeat_tells_nothing_out_of_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"too long|negative|a name"):
        Beat(replace(NODE, **wrong), "0", hello=False)  # type: ignore[arg-type]  # by its field


def test_a_question_has_a_name_of_bounded_length() -> None:
    assert Control("n1", "q" * LONGEST_NAME, Farewell()).id
    with pytest.raises(ValueError, match="too long"):
        Control("n1", "q" * (LONGEST_NAME + 1), Farewell())


@pytest.mark.parametrize("limit", [0, -1, MOST_PER_PAGE + 1])
def test_a_page_is_neither_empty_nor_without_bounds(limit: int) -> None:
    assert ListConnections(1, "").limit == 1
    assert ListConnections(MOST_PER_PAGE, "").limit == MOST_PER_PAGE
    with pytest.raises(ValueError, match="1 to 1000"):
        ListConnections(limit, "")


@given(st.lists(NAMES, max_size=5), st.none() | NAMES)
def test_pages_are_in_order_and_go_on_behind_their_last(names: list[str], onward: str | None) -> None:
    """Else whoever asks for all pages could be led in a circle."""
    in_order = all(one < other for one, other in pairwise(names))
    goes_on = onward is None or names[-1:] == [onward]
    for make in (
        lambda: Connections(tuple(map(connection, names)), onward),
        lambda: Blocks(tuple(map(block, names)), onward),
    ):
        if in_order and goes_on:
            assert make().next == onward
        else:
            with pytest.raises(ValueError, match=r"order|next"):
                make()


@pytest.mark.parametrize("names", [["a", "b"], ["a"], []])
def test_a_page_may_be_the_last_or_name_the_next(names: list[str]) -> None:
    for onward in (None, *names[-1:]):
        assert len(Connections(tuple(map(connection, names)), onward).connections) == len(names)
        assert len(Blocks(tuple(map(block, names)), onward).blocks) == len(names)


def test_a_subject_is_blocked_by_its_own_block_alone() -> None:
    assert EndSubject("ann", block("ann")).block is not None
    assert EndSubject("ann", None).block is None
    with pytest.raises(ValueError, match="the subject's"):
        EndSubject("ann", block("bob"))
