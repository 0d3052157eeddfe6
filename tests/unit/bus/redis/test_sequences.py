"""Loss is counted exactly, per node, and only while one listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.redis.sequences import Sequences

if TYPE_CHECKING:
    from collections.abc import Callable


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5), st.booleans()), max_size=40))
def test_what_is_lost_between_two_heard_payloads_is_counted(sent: list[tuple[str, int, bool]]) -> None:
    sequences = Sequences()
    numbers = dict.fromkeys("ab", 100)
    waiting = dict.fromkeys("ab", 0)
    known: set[str] = set()
    for node, count, arrives in sent:
        first = numbers[node]
        numbers[node] += count
        if not arrives:
            waiting[node] += count
            continue
        assert sequences.observe(node, first, count) == (waiting[node] if node in known else 0)
        known.add(node)
        waiting[node] = 0


@pytest.mark.parametrize("end", [Sequences.forget, Sequences.interrupt])
def test_of_a_node_that_stays_on_its_server_nothing_is_counted_over_a_break(
    end: Callable[[Sequences], None],
) -> None:
    sequences = Sequences()
    sequences.observe("a", 0, 1)
    end(sequences)
    assert sequences.observe("a", 50, 1) == 0
    assert sequences.observe("a", 52, 1) == 1


def test_of_a_node_that_comes_to_the_server_after_a_break_all_is_counted() -> None:
    sequences = Sequences()
    sequences.observe("a", 0, 3)
    sequences.interrupt()
    sequences.interrupt()
    assert sequences.mark("a", 10, unconfirmed=0, moved=True) == 7
    assert sequences.observe("a", 10, 1) == 0
    assert sequences.mark("a", 11, unconfirmed=0, moved=False) == 0


def test_of_a_node_that_was_never_heard_nobody_knows_how_many_were_lost_where_it_has_moved() -> None:
    sequences = Sequences()
    assert sequences.mark("a", 10, unconfirmed=0, moved=True) is None
    assert sequences.mark("a", 12, unconfirmed=0, moved=True) == 2
    assert sequences.mark("b", 10, unconfirmed=0, moved=False) == 0
    assert sequences.mark("c", 10, unconfirmed=10, moved=True) == 0


def test_what_was_refused_to_its_publishers_counts_for_nothing_whether_it_came_or_not() -> None:
    for came in (True, False):
        sequences = Sequences()
        sequences.observe("a", 0, 10)
        if came:
            sequences.observe("a", 10, 5)
        assert sequences.mark("a", 15, unconfirmed=5, moved=False) == 0
        assert sequences.observe("a", 15, 1) == 0


def test_what_nobody_wanted_to_hear_is_not_lost() -> None:
    sequences = Sequences()
    sequences.observe("a", 0, 3)
    sequences.interrupt()
    sequences.forget()
    assert sequences.mark("a", 10, unconfirmed=0, moved=False) == 0


def test_the_nodes_remembered_are_bounded() -> None:
    sequences = Sequences()
    for number in range(3000):
        sequences.observe(f"n{number}", 0, 1)
        if number % 700 == 0:
            sequences.interrupt()
    assert len(sequences._next) <= 1024
    assert len(sequences._before) <= 1024
