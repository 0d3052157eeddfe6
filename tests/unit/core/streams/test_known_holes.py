from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.known_holes import KnownHoles


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), max_size=30))
def test_each_offset_counts_once(ranges: list[tuple[int, int]]) -> None:
    known, seen = KnownHoles(), set[int]()
    for first, more in ranges:
        offsets = set(range(first, first + more + 1))
        assert known.add("e", first, first + more) == len(offsets - seen)
        seen |= offsets


def test_another_life_of_the_log_has_its_own() -> None:
    known = KnownHoles()
    assert [known.add(epoch, 1, 5) for epoch in ("e", "e", "f")] == [5, 0, 5]


def test_what_is_remembered_is_bounded() -> None:
    known = KnownHoles()
    for number in range(3000):
        known.add("e", number * 2, number * 2)
    assert len(known) == 1024
