"""Loss is counted exactly, per node, and only while one listens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.sequences import Sequences


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


def test_after_a_break_nothing_is_counted() -> None:
    sequences = Sequences()
    sequences.observe("a", 0, 1)
    sequences.forget()
    assert sequences.observe("a", 50, 1) == 0
    assert sequences.observe("a", 52, 1) == 1


def test_the_nodes_remembered_are_bounded() -> None:
    sequences = Sequences()
    for number in range(3000):
        sequences.observe(f"n{number}", 0, 1)
    assert len(sequences._next) <= 1024
