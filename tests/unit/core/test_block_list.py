from __future__ import annotations

import pytest

from gateway.core.block_list import BlockList
from gateway.errors import TooMany


def test_a_block_ends_by_itself() -> None:
    blocks = BlockList()
    blocks.block("mallory", 10.0, now=0.0)
    assert blocks.blocked("mallory", 9.9)
    assert not blocks.blocked("alice", 9.9)
    assert not blocks.blocked("mallory", 10.0)
    assert len(blocks) == 0


def test_the_last_word_counts() -> None:
    blocks = BlockList()
    blocks.block("mallory", 100.0, now=0.0)
    blocks.block("mallory", 1.0, now=0.0)
    assert not blocks.blocked("mallory", 2.0)


def test_a_full_list_takes_no_more_and_lets_nobody_in() -> None:
    blocks = BlockList(entries=2)
    blocks.block("one", 10.0, now=0.0)
    blocks.block("two", 20.0, now=0.0)
    with pytest.raises(TooMany):
        blocks.block("three", 30.0, now=5.0)
    blocks.block("two", 30.0, now=5.0)
    blocks.block("three", 30.0, now=15.0)
    assert [blocks.blocked(name, 16.0) for name in ("one", "two", "three")] == [False, True, True]
