"""Which lists are right after a change, whatever is let go at once; test_hub.py holds what comes of it."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from gateway.core.fanout import target_lists
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.fanout.subscription import Subscription
from gateway.core.fanout.target_lists import TargetLists
from gateway.core.fanout.targets import FilterEntry
from gateway.core.messages.commands import Overflow
from tests.unit.core.wire import LineEncoder, RecordingSink

ENCODER = LineEncoder()


def interest(name: str, *members: Outbox) -> FilterEntry:
    made = FilterEntry(name)
    for member in members:
        made.place(member, Subscription(name, Overflow.SPILL))
    return made


def outbox() -> Outbox:
    return Outbox(RecordingSink(), ENCODER, OutboxLimits())


def test_a_change_forgets_the_lists_of_its_filter_and_no_other() -> None:
    lists = TargetLists(1 << 20)
    one, two, three = (interest(name, outbox()) for name in "abc")
    for key in ((one,), (one, two), (two, three), (three,)):
        lists.make(key)
    lists.forget(two)
    assert [lists.recall(key) is not None for key in ((one,), (one, two), (two, three), (three,))] == [
        True,
        False,
        False,
        True,
    ]
    lists.tidy()
    assert lists.tidied
    assert len(lists) == 2


def test_however_many_lists_a_change_concerns_a_portion_is_let_go_at_once(monkeypatch) -> None:
    monkeypatch.setattr(target_lists, "_PORTION", 10)
    lists = TargetLists(1 << 20)
    wide, narrow = interest("#", outbox()), [interest(str(number), outbox()) for number in range(50)]
    for each in narrow:
        lists.make((wide, each))
        lists.make((each,))
    links = lists.touched
    lists.forget(wide)
    lists.tidy()
    assert 0 < lists.touched - links <= 13
    assert not lists.tidied
    assert not any(lists.recall((wide, each)) for each in narrow[::2])
    assert all(lists.recall((each,)) for each in narrow)
    again = lists.make((wide, narrow[1]))
    assert lists.recall((wide, narrow[1])) is again
    while not lists.tidied:
        lists.tidy()
    assert len(lists) == 51
    assert lists.recall((wide, narrow[1])) is again
    assert lists.bytes == sum(map(target_lists._size, lists._lists.values()))


@pytest.mark.parametrize(("filters", "members"), [(1, 1), (1, 5000), (300, 1), (2, 100)])
def test_what_lists_take_is_bounded_in_bytes(filters: int, members: int) -> None:
    most = 2 << 20
    lists, chosen = TargetLists(most), random.Random(3)
    crowd = [outbox() for _ in range(members)]
    # With many members a few lists fill it.
    known = [interest(str(number), *crowd) for number in range(1000 if members < 1000 else 200)]
    if filters == 1:
        known += [interest(str(number), *crowd) for number in range(1000, 5000 if members == 1 else 1000)]
    dropped = 0
    tracemalloc.start()
    try:
        for number in range(20_000):
            before = len(lists)
            key = (known[number % len(known)],) if filters == 1 else tuple(chosen.sample(known, filters))
            if lists.recall(key) is None:
                lists.make(key)
            dropped += len(lists) <= before
            if dropped > len(lists):
                break
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lists.bytes <= most
    assert dropped, "it has not been full"
    assert taken <= 1.5 * most
