"""What waits to be appended: bounded, in order, and not for long."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.messages.publication import Publication
from gateway.errors import RateLimited, StreamUnavailable
from gateway.streams.limits import StoreLimits
from gateway.streams.sqlite.append_queue import AppendQueue, Waiting


def waiting(number: int, size: int = 10, since: float = 0.0) -> Waiting:
    publication = Publication("s/t", f"m{number}", 0, b"1")
    answer = asyncio.get_running_loop().create_future()
    return Waiting("s", publication, b"x" * size, None, answer, since)


async def test_more_than_may_wait_is_refused_until_a_transaction_ends() -> None:
    queue = AppendQueue(StoreLimits(waiting_messages=3, waiting_bytes=100))
    for number in range(3):
        queue.put(waiting(number))
    with pytest.raises(RateLimited):
        queue.put(waiting(4))
    assert len(queue.take()) == 3
    with pytest.raises(RateLimited):
        queue.put(waiting(4))
    queue.finish()
    queue.put(waiting(4, size=100))
    with pytest.raises(RateLimited):
        queue.put(waiting(5, size=1))
    assert (queue.messages, queue.bytes) == (1, 100)


async def test_a_transaction_is_bounded_and_in_order() -> None:
    queue = AppendQueue(StoreLimits(transaction_messages=4, transaction_bytes=50))
    sizes = [10, 10, 10, 10, 10, 60, 10]
    entries = [waiting(number, size) for number, size in enumerate(sizes)]
    for each in entries:
        queue.put(each)
    taken = []
    while queue:
        batch = queue.take()
        taken.append([entries.index(each) for each in batch])
        assert queue.messages == len(entries) - sum(map(len, taken[:-1]))
        queue.finish()
    assert taken == [[0, 1, 2, 3], [4], [5], [6]]
    assert (queue.messages, queue.bytes) == (0, 0)


async def test_what_waits_too_long_fails_and_what_does_not_wait_yet_so_long_stays() -> None:
    queue = AppendQueue(StoreLimits(transaction_messages=2))
    entries = [waiting(number, since=float(number)) for number in range(5)]
    for each in entries:
        queue.put(each)
    queue.take()
    assert queue.expire(0.0) == (1, 1.0)
    assert queue.expire(3.0) == (3, 4.0)
    assert [each.answer.done() for each in entries] == [True] * 4 + [False]
    # Those in the transaction may still be kept, so they count until it ends.
    assert queue.messages == 3
    queue.finish()
    assert queue.take() == entries[4:]
    assert queue.abandon("over") == 1
    for each in entries:
        assert isinstance(each.answer.exception(), StreamUnavailable)


async def test_an_answer_that_nobody_waits_for_is_not_failed() -> None:
    queue = AppendQueue(StoreLimits())
    entry = waiting(1)
    queue.put(entry)
    entry.answer.cancel()
    assert queue.abandon("over") == 0
