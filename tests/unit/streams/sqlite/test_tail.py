"""The newest offsets by topic in memory, against a plain list."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.topic_keys import topic_key
from gateway.streams.sqlite.tail import OldSnapshot, Tail

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 8
TOPICS = st.sampled_from(["a", "a/b", "a/c", "b", "$x", "c/d/e"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(TOPICS, min_size=1, max_size=12)),
        st.tuples(st.just("trim"), st.integers(0, 10)),
        st.tuples(st.just("drop"), st.none()),
        st.tuples(st.just("remove"), TOPICS),
    ),
    max_size=25,
)


def ready_tail(size: int = SIZE) -> Tail:
    tail = Tail(size)
    tail.ready = True
    return tail


def compare(
    tail: Tail, segment: int, first: int, known: dict[int, str], purged: set[int], *, there: bool
) -> None:
    """Hold a segment against what is known of the offsets from ``first`` on."""
    base = segment * SIZE + 1
    if not there:
        with pytest.raises(OldSnapshot):
            tail.view(segment, ordered=True)
        return
    view = tail.view(segment, ordered=True)
    kept = {each: known[each] for each in range(max(base, first), base + SIZE) if each in known}
    found = {
        base + place: key
        for key, places in view.entries(b"", None)
        for place in places
        if base + place >= first
    }
    assert found == {offset: topic_key(topic) for offset, topic in kept.items()}
    for topic in {*kept.values()}:
        assert view.seek(topic_key(topic)) == topic_key(topic)
        assert view.places(topic_key(topic)) is not None
    holes = {each for hole in view.holes for each in range(hole[0], hole[1] + 1)}
    assert {each for each in holes if each >= first} == {
        each for each in purged if base <= each < base + SIZE and each >= first
    }


@given(STEPS)
def test_it_knows_what_a_list_knows(steps: list[tuple[str, object]]) -> None:
    tail = ready_tail(SIZE)
    known: dict[int, str] = {}
    purged: set[int] = set()
    last, first, begin = 0, 1, 0
    for step, argument in steps:
        if step == "extend":
            assert isinstance(argument, list)
            tail.extend(last + 1, argument)
            known |= dict(enumerate(argument, last + 1))
            last += len(argument)
        elif step == "trim":
            assert isinstance(argument, int)
            first = min(last + 1, first + argument)
            tail.trim(first)
        elif step == "drop":
            if (begin + 1) * SIZE <= last:
                tail.drop(begin)
                begin += 1
        else:
            assert isinstance(argument, str)
            for segment in range(begin, last // SIZE + 1):
                base = segment * SIZE + 1
                gone = [each for each in range(base, base + SIZE) if known.get(each) == argument]
                if gone:
                    tail.lose([each for each in gone if each >= first], purged=True)
                    tail.remove(segment, {topic_key(argument): {each - base for each in gone}})
                    purged |= {*gone}
        known = {offset: topic for offset, topic in known.items() if offset not in purged}
        for segment in range(last // SIZE + 1):
            compare(tail, segment, first, {} if segment < begin else known, purged, there=segment >= begin)
    assert tail.first == first


def test_a_view_tells_when_its_segment_has_gone_to_the_file() -> None:
    tail = ready_tail()
    tail.extend(1, ["a", "b"] * (SIZE // 2))
    view = tail.view(0, ordered=True)
    tail.drop(0)
    looks: list[Callable[[], object]] = [
        lambda: view.places(topic_key("a")),
        lambda: list(view.entries(b"", None)),
        lambda: view.holes,
    ]
    for look in looks:
        with pytest.raises(OldSnapshot):
            look()


def test_a_view_tells_when_its_tail_begins_anew() -> None:
    tail = ready_tail()
    tail.extend(1, ["a"])
    view = tail.view(0, ordered=True)
    tail.clear()
    with pytest.raises(OldSnapshot):
        view.places(topic_key("a"))


def test_what_is_trimmed_leaves_memory_before_its_segment_is_complete() -> None:
    tail = ready_tail(65536)
    for begin in range(0, 60_000, 100):
        tail.extend(begin + 1, [f"t/{each}" for each in range(begin, begin + 100)])
        tail.trim(max(1, begin - 100))
    assert len(tail._segments[0].topics) < 20_000
    view = tail.view(0, ordered=True)
    assert len([*view.entries(b"", None)]) < 20_000


def test_one_thread_looks_while_another_adds() -> None:
    tail = ready_tail(1000)

    def add() -> None:
        for begin in range(0, 50_000, 50):
            tail.extend(begin + 1, [f"t/{each % 400}" for each in range(begin, begin + 50)])

    adding = Thread(target=add)
    adding.start()
    looked = 0
    while adding.is_alive() or not looked:
        for segment in range(50):
            view = tail.view(segment, ordered=True)
            keys = [key for key, places in view.entries(b"", None) if list(places) == sorted(places)]
            assert keys == sorted({*keys})
            looked += 1
    adding.join()
    view = tail.view(49, ordered=True)
    assert sum(len(places) for _, places in view.entries(b"", None)) == 1000
