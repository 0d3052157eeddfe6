from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.tail_window import TailWindow
from tests.unit.core.streaming import captured


def test_a_window_only_takes_what_follows() -> None:
    window = TailWindow("s", "e1", 4)
    with pytest.raises(ValueError, match="6"):
        window.push(captured(6))
    window.push(captured(5))
    assert (window.last, window.held_after) == (5, 4)


def test_what_is_not_held_is_the_stores_to_give() -> None:
    window = TailWindow("s", "e1", 10)
    for offset in (11, 12, 13):
        window.push(captured(offset))
    assert window.after(9, 5) is None
    assert [each.offset for each in window.after(11, 5) or ()] == [12, 13]
    assert window.after(13, 5) == window.after(20, 5) == []


def test_a_restart_holds_nothing_and_remembers_the_epoch_that_ended() -> None:
    window = TailWindow("s", "e1", 0)
    window.push(captured(1))
    window.restart("e2", 7, first=3)
    assert (window.epoch, window.first, window.last, len(window), list(window.former)) == (
        "e2",
        3,
        7,
        0,
        ["e1"],
    )
    assert window.after(6, 1) is None
    window.restart("e2", 9, first=9)
    assert list(window.former) == ["e1"]


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=300),
    st.integers(1, 40),
    st.integers(500, 20_000),
    st.integers(1, 50),
)
def test_a_window_is_the_end_of_the_list_within_its_bounds(
    sizes: list[int], messages: int, size: int, limit: int
) -> None:
    window = TailWindow("s", "e1", 0, messages=messages, size=size)
    everything = [captured(offset, data=b"x" * count) for offset, count in enumerate(sizes, start=1)]
    for publication in everything:
        window.push(publication)
        assert 1 <= len(window) <= messages
        assert len(window) == 1 or window._recent.bytes <= size
        # The dead front is bounded too.
        assert len(window._recent._publications) <= max(64, len(window)) + len(window) + 1
    for offset in range(len(sizes) + 1):
        held = window.after(offset, limit)
        if offset < window.held_after:
            assert held is None
        else:
            assert list(held or ()) == everything[offset : offset + limit]
