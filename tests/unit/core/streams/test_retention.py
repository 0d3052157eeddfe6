"""What a log has to let go, against doing it one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.retention import Kept, Surplus, surplus

logs = st.lists(st.builds(Kept, st.integers(0, 50), st.integers(0, 5000)), max_size=30).map(
    lambda kept: sorted(kept, key=lambda each: each.time)
)


@given(logs, st.integers(1, 20), st.integers(1, 300), st.integers(0, 4), st.integers(5000, 8000))
def test_only_what_must_go_goes(kept: list[Kept], messages: int, size: int, age: int, now: int) -> None:
    limits = StreamConfiguration("s", "#", max_messages=messages, max_bytes=size, max_age=age)
    total = sum(each.size for each in kept)
    gone = surplus(limits, kept, messages=len(kept), size=total, now=now)

    left = list(kept)
    while left and (
        now - left[0].time > age * 1000
        or (len(left) > 1 and (len(left) > messages or sum(each.size for each in left) > size))
    ):
        del left[0]
    assert gone == Surplus(len(kept) - len(left), total - sum(each.size for each in left))


def test_no_more_is_looked_at_than_goes_and_one() -> None:
    limits = StreamConfiguration("s", "#", max_messages=8)
    looked_at = []

    def oldest():
        for number in range(10):
            looked_at.append(number)
            yield Kept(1, 0)

    assert surplus(limits, oldest(), messages=10, size=10, now=0) == Surplus(2, 2)
    assert looked_at == [0, 1, 2]


def test_the_newest_goes_for_its_age_alone() -> None:
    small = StreamConfiguration("s", "#", max_messages=1, max_bytes=1, max_age=1)
    assert surplus(small, [Kept(100, 0)], messages=1, size=100, now=1000) == Surplus(0, 0)
    assert surplus(small, [Kept(100, 0)], messages=1, size=100, now=1001) == Surplus(1, 100)
