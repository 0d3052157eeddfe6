"""A part of a log: publications and holes, told of offset by offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import Hole, KnownHoles, OffsetRanges, Page, page_through
from tests.unit.core.streaming import captured

BOUNDS = Bounds("e", 3, 40)


def page_of(kept: set[int], *, after: int = 2, through: int = 20) -> Page:
    return page_through(BOUNDS, [captured(offset) for offset in sorted(kept)], after=after, through=through)


def test_a_page_without_holes_is_its_publications() -> None:
    page = page_of({3, 4, 5}, through=5)
    assert (page.holes, page.first, page.last) == ((), 3, 5)


def test_an_empty_page_tells_of_nothing() -> None:
    page = page_of(set(), after=40, through=40)
    assert (page.holes, page.last) == ((), 0)
    assert not page.behind(40, 50)


def test_what_the_bounds_leave_out_is_no_hole() -> None:
    assert page_of({4}, after=0, through=4).holes == [Hole(3, 3)]


@given(kept=st.sets(st.integers(3, 20)), until=st.integers(0, 25))
def test_every_offset_is_told_of_once_in_order(kept: set[int], until: int) -> None:
    page = page_of(kept)
    told: list[int] = []
    offset = 2
    while following := page.behind(offset, until):
        if isinstance(following, Hole):
            run = list(range(following.first, following.last + 1))
            assert kept.isdisjoint(run)
        else:
            run = [each.offset or 0 for each in following]
            assert kept.issuperset(run)
        told += run
        offset = run[-1]
    assert told == list(range(3, min(20, until) + 1))


@given(kept=st.sets(st.integers(3, 20)), offset=st.integers(0, 30))
def test_a_page_tells_nothing_of_what_lies_beside_it(kept: set[int], offset: int) -> None:
    page = page_of(kept)
    following = page.behind(offset, 100)
    assert bool(following) == (2 <= offset < 20)


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


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), max_size=30),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_ranges_tell_what_was_added_in_as_few_as_there_are(
    added: list[tuple[int, int]], forgotten: int, first: int, more: int
) -> None:
    ranges, offsets = OffsetRanges(), set[int]()
    for begin, length in added:
        ranges.add(begin, begin + length)
        offsets |= set(range(begin, begin + length + 1))
    assert len(ranges) == sum(each - 1 not in offsets for each in offsets)
    ranges.forget_before(forgotten)
    begin, end = forgotten + first, forgotten + first + more
    told = [each for low, high in ranges.within(begin, end) for each in range(low, high + 1)]
    assert told == sorted(each for each in offsets if begin <= each <= end)


def test_ranges_that_were_passed_leave() -> None:
    ranges, most = OffsetRanges(), 0
    for number in range(10_000):
        ranges.add(number * 2, number * 2)
        ranges.forget_before(number * 2 - 100)
        most = max(most, len(ranges))
    assert most <= 110
