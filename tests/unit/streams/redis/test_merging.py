"""Offsets of many topics, told in parts, make the same as all of them at once."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from gateway.streams.redis.merging import OffsetMerge

TOPICS = st.lists(st.sets(st.integers(1, 200), max_size=40), max_size=6)


@given(TOPICS, st.integers(1, 60), st.integers(1, 9), st.booleans())
def test_what_is_merged_is_the_first_of_all(
    topics: list[set[int]], wanted: int, each: int, rising: bool
) -> None:
    sign = 1 if rising else -1
    told = {b"%d" % number: sorted(sign * offset for offset in own) for number, own in enumerate(topics)}
    merge = OffsetMerge(wanted, rising=rising)

    def tell(key: bytes, after: int) -> None:
        begin = bisect_right(told[key], after)
        part = told[key][begin : begin + each]
        merge.add(key, [sign * offset for offset in part], more=len(part) == each)

    for key in told:
        tell(key, -1000)
    rounds = 0
    while going := merge.incomplete():
        rounds += 1
        for key, end in going:
            tell(key, sign * end)
    expected = sorted({offset for own in told.values() for offset in own})[:wanted]
    assert merge.offsets() == [sign * offset for offset in expected]
    assert rounds <= wanted // each + 1, "nothing is asked that isn't wanted"
