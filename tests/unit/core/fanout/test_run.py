from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.fanout.run import WriteQueue
from tests.unit.core.wire import ENCODER, RecordingSink


def outboxes(count: int) -> list[Outbox]:
    return [Outbox(RecordingSink(), ENCODER, OutboxLimits()) for _ in range(count)]


def test_what_fits_comes_as_it_was_touched() -> None:
    queue = WriteQueue()
    touched = outboxes(3)
    queue.fresh += touched

    assert queue.take(3) == touched
    assert len(queue) == 0
    assert queue.take(3) == []


def test_half_of_a_slice_is_for_those_touched_since_the_last() -> None:
    queue = WriteQueue()
    crowd, chat = outboxes(10), outboxes(3)
    queue.fresh += crowd
    assert queue.take(4) == crowd[:4]
    queue.fresh += chat

    assert queue.take(4) == [*chat[:2], *crowd[4:6]]
    assert queue.take(10) == [*crowd[6:], chat[2]]


def test_what_was_put_back_is_first_again() -> None:
    queue = WriteQueue()
    crowd, chat = outboxes(10), outboxes(1)
    queue.fresh += crowd
    taken = queue.take(6)
    queue.put_back(taken[2:])
    queue.fresh += chat

    assert len(queue) == 9
    assert queue.take(4) == [*chat, *crowd[2:5]]
    assert queue.take(100) == crowd[5:]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 7), st.integers(0, 7)), max_size=12))
def test_everyone_comes_out_once_and_nobody_overtakes_those_touched_with_him(
    turns: list[tuple[int, int, int]],
) -> None:
    queue = WriteQueue()
    groups, written = [], []
    for touched, limit, in_time in turns:
        groups.append(outboxes(touched))
        queue.fresh += groups[-1]
        taken = queue.take(limit)
        assert len(taken) <= limit
        written += taken[:in_time]
        if taken[in_time:]:
            queue.put_back(taken[in_time:])
        assert len(queue) == sum(map(len, groups)) - len(written)
    while taken := queue.take(5):
        written += taken

    assert len(written) == len(set(written))
    for group in groups:
        assert [outbox for outbox in written if outbox in group] == group
