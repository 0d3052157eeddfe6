from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cluster.block_list import LONGEST_BLOCK_SECONDS, Block, BlockList
from gateway.errors import TooMany


def block(blocks: BlockList, subject: str, seconds: float, *, now: float, node: str = "a", time: int = 1):
    return blocks.block(subject, seconds, node=node, time=time, now=now)


def everything(blocks: BlockList, now: float) -> list[Block]:
    return blocks.page(limit=100, after="", now=now)


def learn_all(blocks: BlockList, other: BlockList, now: float) -> None:
    for each in everything(other, now):
        blocks.learn(each, now=now)


def test_a_block_ends_by_itself() -> None:
    blocks = BlockList()
    block(blocks, "mallory", 100.0, now=0.0)
    assert blocks.blocked("mallory", 99.9)
    assert not blocks.blocked("alice", 99.9)
    assert not blocks.blocked("mallory", 100.0)
    blocks.digest(100.0)
    assert len(blocks) == 0


def test_the_last_word_counts() -> None:
    blocks = BlockList()
    block(blocks, "mallory", 100.0, now=0.0)
    block(blocks, "mallory", 1.0, now=0.0)
    assert not blocks.blocked("mallory", 2.0)


def test_a_full_list_takes_no_more_and_lets_nobody_in() -> None:
    blocks = BlockList(entries=2)
    block(blocks, "one", 10.0, now=0.0)
    block(blocks, "two", 20.0, now=0.0)
    with pytest.raises(TooMany):
        block(blocks, "three", 30.0, now=5.0)
    block(blocks, "two", 30.0, now=5.0)
    block(blocks, "three", 30.0, now=15.0)
    assert [blocks.blocked(name, 16.0) for name in ("one", "two", "three")] == [False, True, True]


def test_what_another_node_says_ends_at_the_same_moment_whatever_its_clock() -> None:
    here, there = BlockList(), BlockList()
    said = block(here, "eve", 100.0, now=1_000_000.0)
    assert there.learn(said, now=5.0)
    assert there.blocked("eve", 104.9)
    assert not there.blocked("eve", 105.0)
    assert not there.learn(said, now=50.0), "it is known already"
    assert not there.blocked("eve", 105.0)


def test_a_shorter_block_wins_over_an_older_one_that_comes_again() -> None:
    """A node that missed the shorter one still has the longer one, and tells it."""
    here, there = BlockList(), BlockList()
    there.learn(block(here, "eve", 1000.0, now=0.0), now=0.0)
    block(here, "eve", 0.5, now=1.0)
    learn_all(here, there, now=100.0)
    assert not here.blocked("eve", 100.0)
    learn_all(there, here, now=100.0)
    assert not there.blocked("eve", 100.0)
    assert here.digest(100.0) == there.digest(100.0)


def test_a_node_that_has_heard_of_nothing_can_still_have_the_last_word() -> None:
    here, new = BlockList(), BlockList()
    block(here, "eve", 1000.0, now=0.0, time=5_000)
    assert here.learn(block(new, "eve", 10.0, now=0.0, node="b", time=6_000), now=0.0)
    assert not here.blocked("eve", 11.0)


def test_a_clock_that_is_behind_does_not_matter_to_who_has_heard() -> None:
    here, there = BlockList(), BlockList()
    there.learn(block(here, "eve", 1000.0, now=0.0, time=9_000_000), now=0.0)
    assert here.learn(block(there, "eve", 10.0, now=0.0, node="b", time=1), now=0.0)
    assert not here.blocked("eve", 11.0)


def test_pages_hold_each_block_once() -> None:
    blocks = BlockList()
    names = [f"s{number}" for number in range(7)]
    for name in names:
        block(blocks, name, 100.0, now=0.0)
    seen, after = [], ""
    while page := blocks.page(limit=3, after=after, now=1.0):
        seen += [each.subject for each in page]
        after = seen[-1]
    assert seen == names


@pytest.mark.parametrize(
    "wrong",
    [
        ("", 1, "a", 1.0, 1.0),
        ("x" * 1025, 1, "a", 1.0, 1.0),
        ("x", 0, "a", 1.0, 1.0),
        ("x", 2**53, "a", 1.0, 1.0),
        ("x", 1, "a", -1.0, 1.0),
        ("x", 1, "a", 1.0, float("nan")),
        ("x", 1, "a", LONGEST_BLOCK_SECONDS + 1, 1.0),
    ],
)
def test_what_no_node_says_is_no_block(wrong) -> None:
    with pytest.raises(ValueError, match=r"subject|number|seconds"):
        Block(*wrong)


SAYINGS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from("xyz"), st.floats(0.1, LONGEST_BLOCK_SECONDS), st.booleans()
    ),
    max_size=12,
)


@given(SAYINGS, st.permutations(range(3)), st.floats(0, 1e9))
def test_nodes_that_tell_each_other_all_come_to_the_same_list(sayings, order, now) -> None:
    lists = [BlockList() for _ in range(3)]
    for node, subject, seconds, heard in sayings:
        said = block(lists[node], subject, seconds, now=now, node="abc"[node])
        if heard:
            lists[(node + 1) % 3].learn(said, now=now)
    for _ in range(2):
        for index in order:
            for other in lists:
                learn_all(lists[index], other, now)
    assert len({each.digest(now) for each in lists}) == 1
    for subject in "xyz":
        assert len({each.blocked(subject, now + 1) for each in lists}) == 1
