"""A repeat within the window gets the first answer, and nothing is done twice."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.session.idempotency import AnswerStatistics, IdempotencyWindow
from gateway.errors import Conflict, RateLimited


@pytest.fixture
def window() -> IdempotencyWindow[str]:
    return IdempotencyWindow(seconds=10.0, entries=3)


def test_a_repeat_gets_the_first_answer(window):
    assert window.recall("k", b"f", now=0.0) is None
    window.remember("k", b"f", "first", now=0.0)
    assert window.recall("k", b"f", now=9.9) == "first"


def test_another_content_under_the_same_key_is_a_conflict(window):
    window.remember("k", b"f", "first", now=0.0)
    with pytest.raises(Conflict, match="another topic or body"):
        window.recall("k", b"g", now=1.0)


def test_an_answer_runs_out_and_its_key_is_free_again(window):
    window.remember("k", b"f", "first", now=0.0)
    assert window.recall("k", b"g", now=10.0) is None
    window.remember("k", b"g", "second", now=10.0)
    assert window.recall("k", b"g", now=11.0) == "second"


def test_the_first_answer_stays_the_first(window):
    window.remember("k", b"f", "first", now=0.0)
    window.remember("k", b"f", "second", now=5.0)
    assert window.recall("k", b"f", now=9.0) == "first"
    assert window.recall("k", b"f", now=10.0) is None


def test_without_a_reservation_the_oldest_goes_at_the_count_bound(window):
    for number in range(4):
        window.remember(number, b"f", str(number), now=float(number))
    assert [window.recall(number, b"f", now=5.0) for number in range(4)] == [None, "1", "2", "3"]


def test_what_has_run_out_is_dropped_as_new_answers_come(window):
    window.remember("a", b"f", "a", now=0.0)
    window.remember("b", b"f", "b", now=1.0)
    window.remember("c", b"f", "c", now=11.0)
    assert window.statistics() == AnswerStatistics(remembered=1, reserved=0)


def test_a_repeat_while_the_first_is_under_way_is_a_conflict(window):
    assert window.reserve("k", b"f", now=0.0) is None
    with pytest.raises(Conflict, match="still being published"):
        window.reserve("k", b"f", now=0.0)
    with pytest.raises(Conflict, match="another topic or body"):
        window.reserve("k", b"g", now=0.0)
    window.remember("k", b"f", "first", now=1.0)
    assert window.reserve("k", b"f", now=2.0) == "first"


def test_a_released_key_may_be_tried_again(window):
    window.reserve("k", b"f", now=0.0)
    window.release("k")
    assert window.reserve("k", b"g", now=0.0) is None


def test_reservations_are_bounded_and_outlive_the_window(window):
    for number in range(2):
        window.reserve(number, b"f", now=0.0)
    with pytest.raises(RateLimited):
        window.reserve(3, b"f", now=100.0)
    with pytest.raises(Conflict):
        window.recall(0, b"f", now=100.0)


def use(window: IdempotencyWindow[str], owner: str, key: str, now: float = 0.0) -> bool:
    """Whether ``owner`` could publish with ``key``."""
    try:
        window.reserve((owner, key), b"f", now=now, owner=owner)
    except RateLimited:
        return False
    window.remember((owner, key), b"f", key, now=now)
    return True


def test_one_owner_of_keys_takes_half_of_the_room_and_the_others_keep_theirs():
    window: IdempotencyWindow[str] = IdempotencyWindow(seconds=10.0, entries=100)
    assert use(window, "bob", "early")
    assert sum(use(window, "eve", str(number)) for number in range(1000)) == 50
    assert window.recall(("bob", "early"), b"f", now=9.0) == "early"
    assert window.recall(("eve", "0"), b"f", now=9.0) == "0", "nothing is forgotten within the window"
    assert sum(use(window, "bob", str(number)) for number in range(1000)) == 24
    assert use(window, "carol", "first")
    assert sum(use(window, "eve", f"late {number}", now=10.0) for number in range(1000)) == 50


def test_however_many_owners_are_greedy_there_is_room_for_the_next():
    window: IdempotencyWindow[str] = IdempotencyWindow(seconds=10.0, entries=100)
    for greedy in range(5):
        while use(window, f"greedy {greedy}", str(window.statistics().remembered)):
            pass
    assert use(window, "modest", "first")


def test_what_was_released_gives_its_room_back():
    window: IdempotencyWindow[str] = IdempotencyWindow(seconds=10.0, entries=2)
    for _ in range(5):
        window.reserve("k", b"f", now=0.0, owner="bob")
        with pytest.raises(RateLimited):
            window.reserve("other", b"f", now=0.0, owner="bob")
        window.release("k")


def test_a_window_holds_at_least_one_entry():
    with pytest.raises(ValueError, match="at least 1"):
        IdempotencyWindow(seconds=1.0, entries=0)


class WindowModel(RuleBasedStateMachine):
    """Against a plain list of everything ever remembered; nothing that lives is forgotten."""

    SECONDS = 5
    ENTRIES = 4
    keys = st.sampled_from("abcdef")
    fingerprints = st.sampled_from([b"1", b"2"])

    def __init__(self) -> None:
        super().__init__()
        self.window: IdempotencyWindow[int] = IdempotencyWindow(seconds=self.SECONDS, entries=self.ENTRIES)
        self.now = 0
        self.history: list[tuple[str, bytes, int, int]] = []
        self.reserved: dict[str, bytes] = {}

    def first(self, key: str) -> tuple[bytes, int] | None:
        """What lives must be had."""
        live = [entry for entry in self.history if entry[3] + self.SECONDS > self.now]
        return next(((f, answer) for k, f, answer, _ in live if k == key), None)

    def owner(self, key: str) -> str:
        return "x" if key < "d" else "y"

    def held(self, owner: str) -> int:
        live = [key for key, _, _, at in self.history if at + self.SECONDS > self.now]
        return sum(self.owner(key) == owner for key in [*live, *self.reserved])

    @rule(seconds=st.integers(0, 6))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(key=keys, fingerprint=fingerprints)
    def reserve(self, key: str, fingerprint: bytes) -> None:
        first = self.first(key)
        if key in self.reserved or (first is not None and first[0] != fingerprint):
            with pytest.raises(Conflict):
                self.window.reserve(key, fingerprint, now=self.now)
        elif first is not None:
            assert self.window.reserve(key, fingerprint, now=self.now) == first[1]
        elif self.held(self.owner(key)) >= self.ENTRIES - sum(map(self.held, "xy")):
            with pytest.raises(RateLimited):
                self.window.reserve(key, fingerprint, now=self.now, owner=self.owner(key))
        else:
            assert self.window.reserve(key, fingerprint, now=self.now, owner=self.owner(key)) is None
            self.reserved[key] = fingerprint

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), succeeds=st.booleans())
    def settle(self, data: st.DataObject, succeeds: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.reserved)))
        fingerprint = self.reserved.pop(key)
        if succeeds:
            answer = len(self.history)
            self.history.append((key, fingerprint, answer, self.now))
            self.window.remember(key, fingerprint, answer, now=self.now)
        else:
            self.window.release(key)

    @invariant()
    def it_is_bounded(self) -> None:
        statistics = self.window.statistics()
        assert statistics.remembered <= self.ENTRIES
        assert statistics.reserved == len(self.reserved)
        assert sum(self.window._held.values()) == statistics.reserved + statistics.remembered


TestWindowModel = WindowModel.TestCase
