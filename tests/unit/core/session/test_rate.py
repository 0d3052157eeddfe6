from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.commands import Ping, Subscribe
from gateway.core.messages.publication import Publish
from gateway.core.session.rate import KeyedRates, RateLimit, Rates, Throttle, Verdict


def test_a_burst_passes_then_the_rate_holds() -> None:
    limit = RateLimit(10, 3, now=0.0)
    assert [limit.allow(0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allow(0.1)
    assert not limit.allow(0.1)


def test_what_is_given_back_is_there_again_and_never_more_than_a_burst() -> None:
    limit = RateLimit(10, 3, now=0.0)
    for _ in range(100):
        assert limit.allow(0.0)
        limit.give_back()
    for _ in range(100):
        limit.give_back()
    assert [limit.allow(0.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 0.5), max_size=200), st.integers(1, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate_allow(pauses: list[float], per_second: int, burst: int) -> None:
    limit = RateLimit(per_second, burst, now=0.0)
    now, allowed = 0.0, 0
    for pause in pauses:
        now += pause
        allowed += limit.allow(now)
        assert allowed <= burst + now * per_second + 1e-6


def test_what_costs_more_than_the_burst_passes_when_the_bucket_is_full() -> None:
    rate = RateLimit(10, 50, now=0.0)
    assert rate.allow(0.0, 1000)
    assert not rate.allow(94.0)
    assert rate.allow(95.2)


def test_keys_have_rates_of_their_own() -> None:
    rates: KeyedRates[str] = KeyedRates(1, 2)
    assert [rates.allow("a", 0.0) for _ in range(3)] == [True, True, False]
    assert rates.allow("b", 0.0)


def test_the_key_seen_longest_ago_is_forgotten() -> None:
    rates: KeyedRates[str] = KeyedRates(1, 1, keys=2)
    assert all(rates.allow(key, 0.0) for key in "ab")
    assert not rates.allow("a", 0.0)
    assert rates.allow("c", 0.0)
    assert len(rates) == 2
    assert not rates.allow("a", 0.0)
    assert rates.allow("b", 0.0)


def test_no_rate_keeps_nothing() -> None:
    rates: KeyedRates[int] = KeyedRates(0, 0)
    assert all(rates.allow(key, 0.0) for key in range(100))
    assert len(rates) == 0


# What one connection may send: never more than its rates and bursts allow, whatever it sends when.

PING, BROKEN = Ping(), None


def publish(size: int) -> Publish:
    return Publish("t", b"x" * size)


def verdicts(
    throttle: Throttle, rates: Rates, command: object, count: int, now: float
) -> list[Verdict | None]:
    return [throttle.judge(command, now, rates) for _ in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rates", "limited"),
    [
        (Rates(), True),
        (Rates(0), False),
        (Rates(0, 1), True),
        (Rates(0, 0, 1), True),
    ],
)
def test_who_has_no_limit_needs_no_throttle(rates: Rates, limited: bool) -> None:
    assert rates.limited is limited


def test_zero_limits_nothing() -> None:
    rates = Rates(0)
    assert not any(verdicts(Throttle(rates, now=0), rates, publish(1000), 10_000, 0.0))


@pytest.mark.parametrize("command", [PING, BROKEN, publish(1), Subscribe("a")], ids=repr)
def test_every_command_counts_those_that_cannot_be_decoded_too(command: object) -> None:
    rates = Rates(commands=2)
    throttle = Throttle(rates, now=0)
    assert verdicts(throttle, rates, command, 10, 0.0) == [None] * 10
    assert throttle.judge(command, 0.0, rates) is Verdict.COMMANDS  # type: ignore[arg-type]
    assert verdicts(throttle, rates, command, 3, 1.0) == [None, None, Verdict.COMMANDS]


COMMANDS = st.one_of(st.just(PING), st.just(BROKEN), st.integers(0, 400).map(publish))


@given(
    st.lists(st.tuples(st.floats(0, 2), COMMANDS), max_size=120),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 100),
)
def test_no_more_passes_than_rates_and_bursts_allow(
    history: list[tuple[float, Publish | Ping | None]], commands: int, publishes: int, size: int
) -> None:
    rates = Rates(commands, publishes, size)
    throttle = Throttle(rates, now=0)
    now, passed, published, in_bytes, largest = 0.0, 0, 0, 0, 0
    for pause, command in history:
        now += pause
        if throttle.judge(command, now, rates) is None:
            passed += 1
            if isinstance(command, Publish):
                published += 1
                in_bytes += len(command.data or b"")
                largest = max(largest, len(command.data or b""))
    assert passed <= commands * (5 + now) + 1e-6
    assert published <= publishes * (5 + now) + 1e-6
    # One body passes though it is larger than the burst: the bucket was full, and owes the rest.
    assert in_bytes <= size * (5 + now) + largest + 1e-6


def test_only_publishes_are_held_to_the_rates_of_publishing() -> None:
    rates = Rates(commands=0, publishes=1)
    throttle = Throttle(rates, now=0)
    assert verdicts(throttle, rates, publish(1), 6, 0.0) == [None] * 5 + [Verdict.PUBLISHES]
    assert verdicts(throttle, rates, PING, 100, 0.0) == [None] * 100
    assert throttle.judge(Subscribe("a"), 0.0, rates) is None


@pytest.mark.parametrize("body", [{"data": b"x" * 40}, {"binary": b"x" * 40}], ids=str)
def test_bodies_count_by_their_bytes(body: dict[str, bytes]) -> None:
    rates = Rates(commands=0, publish_bytes=10)
    throttle = Throttle(rates, now=0)
    assert throttle.judge(Publish("t", **body), 0.0, rates) is None
    assert throttle.judge(Publish("t", **body), 0.0, rates) is Verdict.PUBLISH_BYTES
    assert throttle.judge(publish(10), 0.0, rates) is None, "what is left of the burst"
    assert throttle.judge(Publish("t", **body), 4.0, rates) is None


def test_one_body_may_always_be_as_large_as_a_message_may() -> None:
    rates = Rates(commands=0, publish_bytes=10)
    throttle = Throttle(rates, now=0)
    assert throttle.judge(publish(1000), 0.0, rates) is None
    assert throttle.judge(publish(1), 94.0, rates) is Verdict.PUBLISH_BYTES
    assert throttle.judge(publish(1000), 200.0, rates) is None


def test_who_goes_on_for_ten_minutes_worth_of_refusals_does_not_listen() -> None:
    rates = Rates(commands=2)
    throttle = Throttle(rates, now=0)
    verdicts(throttle, rates, BROKEN, 10, 0.0)
    assert set(verdicts(throttle, rates, BROKEN, 1200, 0.0)) == {Verdict.COMMANDS}
    assert throttle.judge(BROKEN, 0.0, rates) is Verdict.FLOOD


def test_who_is_no_more_than_twice_too_fast_is_never_taken_for_a_flood() -> None:
    rates = Rates(commands=2)
    throttle = Throttle(rates, now=0)
    seen = {throttle.judge(PING, number / 4, rates) for number in range(20_000)}
    assert seen == {None, Verdict.COMMANDS}
