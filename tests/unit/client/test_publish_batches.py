"""What an HTTP publisher decides of answers: nothing lost, nothing repeated that may be a second one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import (
    Backoff,
    CommandTimeout,
    Conflict,
    ConnectFailed,
    GatewayError,
    InternalError,
    NoAnswer,
    NotPermitted,
    NotSent,
    OutgoingMessage,
    Published,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from gateway.client.outgoing import commands_of
from gateway.client.publish_batches import (
    BATCH_BYTES,
    BATCH_ITEMS,
    PublishBatches,
    WaitingPublish,
    request_body,
)

AT_ONCE = Backoff(first_seconds=1.0, random=lambda: 1.0)


def waiting(count: int, *, keyed: bool = True, data: Any = 1) -> list[WaitingPublish]:
    commands = commands_of([OutgoingMessage(f"t/{n}", data) for n in range(count)], keyed=keyed)
    return [WaitingPublish(topic, key, make) for topic, key, make in commands]


def batches_with(publishes: list[WaitingPublish], *, can_renew: bool = False) -> PublishBatches:
    batches = PublishBatches(AT_ONCE, can_renew=can_renew)
    batches.add(publishes)
    return batches


def answer(batches: PublishBatches, batch: list[WaitingPublish], *results: Any, status: int = 200) -> None:
    body = {"results": list(results)} if status == 200 else results[0]
    batches.answered(batch, status, json.dumps(body).encode(), retry_after=0.0, now=0.0)


def ok(number: int) -> dict[str, Any]:
    return {"id": f"m{number}", "stream": "s", "offset": number}


def problem(code: str) -> dict[str, Any]:
    return {"code": code, "reason": "because"}


def test_each_gets_its_own_result() -> None:
    publishes = waiting(3)
    batches = batches_with(publishes)
    batch = batches.take()
    assert batches.busy
    answer(batches, batch, ok(1), problem("forbidden"), ok(3))
    assert not batches.busy
    assert publishes[0].result == Published("m1", "s", 1)
    assert isinstance(publishes[1].result, NotPermitted)
    assert publishes[2].result == Published("m3", "s", 3)
    assert batches.take() == []


def test_items_are_what_the_gateway_takes_each_with_a_key_of_its_own() -> None:
    (first, second) = (json.loads(each.item) for each in waiting(2))
    assert first.keys() == {"topic", "data", "idempotency_key"}
    assert first["idempotency_key"] != second["idempotency_key"]
    assert json.loads(request_body(waiting(2, keyed=False))) == [
        {"topic": "t/0", "data": 1},
        {"topic": "t/1", "data": 1},
    ]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_whatever_is_answered_each_is_sent_until_it_has_a_result_and_in_order(
    sizes: list[int], data: st.DataObject
) -> None:
    """Calls of several messages, whose requests fail in any way before they succeed."""
    publishes = [each for size in sizes for each in waiting(size)]
    batches = batches_with(publishes)
    done: list[WaitingPublish] = []
    while batch := batches.take():
        how = data.draw(st.sampled_from(["ok", "ok", "lost", "unsent", "busy", "too much", "abandoned"]))
        if how == "ok":
            answer(batches, batch, *(ok(n) for n in range(len(batch))))
            done += batch
        elif how == "lost":
            batches.not_answered(batch, "x", now=0.0)
        elif how == "unsent":
            batches.not_connected(batch, "x", now=0.0)
        elif how == "busy":
            answer(batches, batch, problem("unavailable"), status=503)
        elif how == "abandoned":
            batches.abandoned(batch)
        elif len(batch) > 1:
            answer(batches, batch, problem("too_large"), status=413)
        else:
            answer(batches, batch, problem("rate_limited"))
    assert done == publishes
    assert all(isinstance(each.result, Published) for each in publishes)


def test_a_delay_is_told_in_milliseconds() -> None:
    (command,) = commands_of([OutgoingMessage("t", 1, delay=1.5)], keyed=False)
    assert json.loads(WaitingPublish(*command).item) == {"topic": "t", "data": 1, "delay": 1500}


def test_a_batch_is_bounded_in_items_and_bytes() -> None:
    assert len(batches_with(waiting(BATCH_ITEMS + 1)).take()) == BATCH_ITEMS
    large = waiting(3, data="x" * (BATCH_BYTES // 2))
    assert len(batches_with(large).take()) == 1
    huge = waiting(2, data="x" * (2 * BATCH_BYTES))
    assert len(batches_with(huge).take()) == 1


@pytest.mark.parametrize("status", [400, 413])
def test_a_batch_that_is_refused_as_a_whole_is_halved_until_the_one_at_fault_is_found(status: int) -> None:
    publishes = waiting(8)
    batches = batches_with(publishes)
    bad = publishes[5]
    while batch := batches.take():
        if bad in batch:
            answer(batches, batch, problem("too_large"), status=status)
        else:
            answer(batches, batch, *(ok(n) for n in range(len(batch))))
    assert isinstance(bad.result, TooLarge)
    assert [isinstance(each.result, Published) for each in publishes].count(True) == 7


def test_without_a_key_only_what_was_certainly_not_done_is_sent_again() -> None:
    (publish,) = publishes = waiting(1, keyed=False)
    batches = batches_with(publishes)
    batches.not_connected(batches.take(), "refused", now=0.0)
    batch = batches.take()
    assert batch == [publish]
    answer(batches, batch, problem("rate_limited"))
    batch = batches.take()
    assert batch == [publish]
    batches.not_answered(batch, "gone", now=0.0)
    assert isinstance(publish.result, NoAnswer)
    assert batches.take() == []


def test_without_a_key_nothing_is_sent_again_when_its_request_is_given_up() -> None:
    keyed, bare = waiting(1)[0], waiting(1, keyed=False)[0]
    batches = batches_with([keyed, bare])
    batches.abandoned(batches.take())
    assert isinstance(bare.result, CommandTimeout)
    assert batches.take() == [keyed]


def test_without_a_key_unavailable_is_final_for_it_may_be_done() -> None:
    publishes = waiting(1, keyed=False)
    batches = batches_with(publishes)
    answer(batches, batches.take(), problem("unavailable"))
    assert isinstance(publishes[0].result, Unavailable)


def test_a_conflict_with_a_repeat_passes_and_with_a_first_one_does_not() -> None:
    publishes = waiting(1)
    batches = batches_with(publishes)
    batches.not_answered(batches.take(), "gone", now=0.0)
    answer(batches, batches.take(), problem("conflict"))
    answer(batches, batches.take(), ok(1))
    assert isinstance(publishes[0].result, Published)
    again = waiting(1)
    batches.add(again)
    answer(batches, batches.take(), problem("conflict"))
    assert isinstance(again[0].result, Conflict)


def test_what_has_no_result_in_time_says_whether_it_was_sent() -> None:
    publishes = waiting(4)
    batches = batches_with(publishes[:3])
    never = publishes[3].give_up(1.0)
    assert type(never) is NotSent
    assert "'t/3': not sent within 1 s" in str(never)
    batches.not_connected(batches.take(), "refused", now=0.0)
    assert isinstance(publishes[0].give_up(1.0), ConnectFailed)
    batch = batches.take()
    assert batch == publishes[1:3], "what was given up is not sent any more"
    batches.not_answered(batch, "gone", now=0.0)
    late = publishes[1].give_up(1.0)
    assert isinstance(late, CommandTimeout)
    assert isinstance(late.__cause__, NoAnswer)
    answer(batches, batches.take(), problem("rate_limited"))
    assert isinstance(publishes[2].give_up(1.0), CommandTimeout)


def test_what_was_refused_to_the_end_is_told_as_that() -> None:
    publishes = waiting(1)
    batches = batches_with(publishes)
    answer(batches, batches.take(), problem("rate_limited"))
    assert isinstance(publishes[0].give_up(1.0), RateLimited)


def test_waits_grow_and_follow_what_the_gateway_asks_for() -> None:
    publishes = waiting(1)
    batches = batches_with(publishes)
    batches.not_connected(batches.take(), "refused", now=10.0)
    assert batches.wait(10.0) == pytest.approx(1.0)
    batches.not_connected(batches.take(), "refused", now=11.0)
    assert batches.wait(11.5) == pytest.approx(1.5)
    body = json.dumps(problem("unavailable")).encode()
    batches.answered(batches.take(), 503, body, retry_after=7.0, now=20.0)
    assert batches.wait(20.0) == pytest.approx(11.0)
    answer(batches, batches.take(), ok(1))


def test_a_refused_token_is_renewed_once() -> None:
    publishes = waiting(1)
    batches = batches_with(publishes, can_renew=True)
    answer(batches, batches.take(), problem("token_expired"), status=401)
    assert batches.token_refused
    assert publishes[0].result is None
    answer(batches, batches.take(), problem("unauthenticated"), status=401)
    assert isinstance(publishes[0].result, Unauthenticated)
    fixed = waiting(1)
    batches = batches_with(fixed)
    answer(batches, batches.take(), problem("unauthenticated"), status=401)
    assert isinstance(fixed[0].result, Unauthenticated)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>", InternalError),
        (200, b'{"results": []}', InternalError),
        (200, b'{"results": [7]}', InternalError),
        (404, b"<html>", GatewayError),
        (403, b'{"code": "forbidden", "reason": "no"}', NotPermitted),
    ],
)
def test_what_is_no_answer_of_a_gateways_is_an_error(
    status: int, body: bytes, error: type[GatewayError]
) -> None:
    publishes = waiting(1)
    batches = batches_with(publishes)
    batches.answered(batches.take(), status, body, retry_after=0.0, now=0.0)
    assert isinstance(publishes[0].result, error)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_proxys_passing_refusal_passes(status: int) -> None:
    publishes = waiting(1)
    batches = batches_with(publishes)
    batches.answered(batches.take(), status, b"<html>", retry_after=0.0, now=0.0)
    answer(batches, batches.take(), ok(1))
    assert isinstance(publishes[0].result, Published)
