"""What waits to be published: in order, one batch at a time, and never in doubt about what was delivered."""

from __future__ import annotations

import pytest

from gateway.bus.redis.partition_queue import PartitionQueue, PublishBudget
from gateway.bus.redis.payload import decode_head, decode_mark
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication
from gateway.errors import BusUnavailable, RateLimited
from gateway.redis.batch_state import BatchState
from gateway.redis.servers import Address

HERE, THERE = Address("here", 1), Address("there", 1)


class Link:
    """A connection that sends nothing: the test is the server."""

    def __init__(self) -> None:
        self.accepting = True
        self.woken: list[PartitionQueue] = []

    def wake(self, queue: PartitionQueue) -> None:
        self.woken.append(queue)

    def release(self, queue: PartitionQueue) -> None:
        raise NotImplementedError


def budget_of(limit_bytes: int = 10_000_000) -> PublishBudget:
    budget = PublishBudget("n", [b"c0", b"c1"], GatewayV1(), limit_bytes=limit_bytes, timeout=1)
    budget.queues[0].link = Link()
    return budget


def message(body: bytes = b"1") -> Publication:
    return Publication("a", "1", 1, body)


async def test_what_is_published_in_one_turn_goes_together_and_wakes_the_connection_once() -> None:
    budget = budget_of()
    queue = budget.queues[0]
    done = {budget.publish(message(), 0) for _ in range(3)}
    assert len(done) == 1
    assert isinstance(queue.link, Link)
    assert queue.link.woken == [queue]
    batch = budget.take(queue)
    assert batch is not None
    head = decode_head(batch.payload)
    assert (head.node, head.partitions, head.first, head.count) == ("n", 2, 0, 3)
    budget.confirm(queue, batch)
    assert batch.state is BatchState.KEPT
    assert all(each.done() for each in done)
    assert (budget.publications, budget.payloads, budget.bytes, budget.failed) == (3, 1, 0, 0)


async def test_one_batch_is_in_flight_at_a_time() -> None:
    budget = budget_of()
    queue = budget.queues[0]
    budget.publish(message(), 0)
    first = budget.take(queue)
    assert first is not None
    budget.publish(message(), 0)
    assert budget.take(queue) is None
    budget.confirm(queue, first)
    second = budget.take(queue)
    assert second is not None
    assert decode_head(second.payload).first == 1


async def test_a_batch_is_bounded_in_bytes() -> None:
    budget = budget_of()
    for _ in range(5):
        budget.publish(message(b"1" * 600_000), 0)
    assert [len(batch.records) for batch in budget.queues[0].batches] == [1] * 5


async def test_what_comes_back_goes_again_as_it_is_before_all_others() -> None:
    budget = budget_of()
    queue = budget.queues[0]
    budget.publish(message(), 0)
    batch = budget.take(queue)
    assert batch is not None
    payload = batch.payload
    budget.publish(message(), 0)
    budget.hold_returned(queue, batch)
    assert batch.state is BatchState.RETURNED
    mark = budget.mark(queue, THERE)
    assert mark is None  # the first number has yet to come
    assert budget.take(queue) is batch
    assert batch.payload == payload
    assert batch.state is BatchState.IN_FLIGHT


async def test_what_may_have_been_delivered_is_told_apart_from_what_was_not() -> None:
    budget = budget_of()
    queue = budget.queues[0]
    sent = budget.publish(message(), 0)
    batch = budget.take(queue)
    assert batch is not None
    waiting = budget.publish(message(), 0)
    unsent = queue.batches[0]
    budget.discard(queue, "Redis is away")
    assert (batch.state, unsent.state) == (BatchState.UNKNOWN, BatchState.REFUSED)
    for each in (sent, waiting):
        with pytest.raises(BusUnavailable, match="Redis is away"):
            each.result()
    assert (budget.bytes, budget.failed, budget.publications) == (0, 2, 0)
    # One number was given and not confirmed, the other publication never had one.
    queue.server = HERE
    mark = budget.mark(queue, THERE)
    assert mark is not None
    told = decode_mark(mark)
    assert (told.following, told.unconfirmed, told.moved) == (1, 1, True)


async def test_no_more_waits_than_may() -> None:
    budget = budget_of(limit_bytes=250)
    budget.publish(message(), 0)
    with pytest.raises(RateLimited):
        budget.publish(message(b"1" * 200), 0)


async def test_a_server_that_is_away_takes_nothing() -> None:
    budget = budget_of()
    with pytest.raises(BusUnavailable):
        budget.publish(message(), 1)
    assert isinstance(budget.queues[0].link, Link)
    budget.queues[0].link.accepting = False
    with pytest.raises(BusUnavailable):
        budget.publish(message(), 0)
