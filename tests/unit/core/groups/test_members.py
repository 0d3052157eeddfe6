"""Whose turn it is, beside a look at everybody each time."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.groups.members import _SLACK, Members
from gateway.core.timing.due_times import SLACK

NAMES = [f"m{number}" for number in range(6)]


def everybody(_name: str) -> bool:
    return True


@dataclass
class Naive:
    credit: int
    served: int = 0
    held: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return max(0, self.credit - len(self.held))


class TurnLaws(RuleBasedStateMachine):
    """Members that come, go, take, answer and stop taking, beside a plain table of them."""

    def __init__(self) -> None:
        super().__init__()
        self.members = Members()
        self.naive: dict[str, Naive] = {}
        self.blocked: set[str] = set()
        self.passed_over: set[str] = set()
        self.served = self.fence = self.now = 0

    def expected(self, most: int) -> list[str]:
        state = {
            name: (each.free, each.served) for name, each in self.naive.items() if name not in self.blocked
        }
        order: list[str] = []
        served = self.served
        while len(order) < most:
            free = [(-free, last, name) for name, (free, last) in state.items() if free]
            if not free:
                break
            name = min(free)[2]
            served += 1
            order.append(name)
            state[name] = (state[name][0] - 1, served)
        return order

    def takes(self, name: str) -> bool:
        if name in self.blocked:
            self.passed_over.add(name)
        return name not in self.blocked

    @rule(name=st.sampled_from(NAMES), credit=st.integers(1, 5))
    def join(self, name: str, credit: int) -> None:
        self.members.join(name, credit)
        self.naive.setdefault(name, Naive(credit)).credit = credit

    @precondition(lambda self: self.naive)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.naive)))
        self.members.leave(name)
        del self.naive[name]
        self.blocked.discard(name)
        self.passed_over.discard(name)

    @rule(most=st.integers(1, 12), given=st.integers(0, 12), lasting=st.integers(1, 50))
    def take(self, most: int, given: int, lasting: int) -> None:
        order = self.members.turns(most, self.takes)
        assert order == self.expected(most)
        for name in order[:given]:
            self.fence += 1
            self.served += 1
            assert self.members.give(name, self.fence, self.fence, self.now + lasting)
            self.naive[name].held[self.fence, self.fence] = self.now + lasting
            self.naive[name].served = self.served
        for name in set(order[:given]):
            self.members.enter(name)

    @precondition(lambda self: any(each.held for each in self.naive.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(sorted(key for each in self.naive.values() for key in each.held)))
        self.members.end([lease])
        for each in self.naive.values():
            each.held.pop(lease, None)

    @precondition(lambda self: any(each.held for each in self.naive.values()))
    @rule(data=st.data(), by=st.integers(1, 80))
    def extend(self, data: st.DataObject, by: int) -> None:
        lease = data.draw(st.sampled_from(sorted(key for each in self.naive.values() for key in each.held)))
        self.members.extend(*lease, self.now + by)
        for each in self.naive.values():
            if lease in each.held:
                each.held[lease] = max(each.held[lease], self.now + by)

    @rule(passed=st.integers(0, 40))
    def time_passes(self, passed: int) -> None:
        self.now += passed
        for each in self.naive.values():
            each.held = {lease: until for lease, until in each.held.items() if until > self.now}
        rest = [until for each in self.naive.values() for until in each.held.values()]
        assert self.members.expire(self.now) == min(rest, default=None)

    @precondition(lambda self: self.naive)
    @rule(data=st.data())
    def block(self, data: st.DataObject) -> None:
        self.blocked.add(data.draw(st.sampled_from(sorted(self.naive))))

    @precondition(lambda self: self.blocked)
    @rule(data=st.data())
    def unblock(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.blocked)))
        self.blocked.discard(name)
        # Told of only where it was passed over: the others never left their place.
        if name in self.passed_over:
            self.passed_over.discard(name)
            self.members.enter(name)

    @invariant()
    def bounded(self) -> None:
        assert len(self.members) == len(self.naive)
        assert len(self.members._order) <= 2 * len(NAMES) + _SLACK + 1 + len(NAMES)


TestTurns = TurnLaws.TestCase


def test_who_has_most_free_credit_comes_first_and_then_who_waits_longest() -> None:
    members = Members()
    for name, credit in (("small", 1), ("large", 3), ("other", 3)):
        members.join(name, credit)
    assert members.turns(10, everybody) == ["large", "other", "large", "other", "small", "large", "other"]


def test_nobody_gets_more_than_its_credit() -> None:
    members = Members()
    members.join("one", 2)
    for number in members.turns(10, everybody):
        members.give(number, len(number), members._served + 1, 100)
    members.enter("one")
    assert members.turns(10, everybody) == []
    members.join("one", 3)
    assert members.turns(10, everybody) == ["one"]


def test_a_member_that_has_gone_holds_nothing_and_gets_nothing() -> None:
    members = Members()
    members.join("one", 2)
    assert members.give("one", 1, 1, 100)
    members.leave("one")
    members.leave("one")
    members.end([(1, 1)])
    members.enter("one")
    assert not members.give("one", 2, 2, 100)
    assert (members.turns(5, everybody), members.expire(1_000), len(members)) == ([], None, 0)


def test_what_answers_leave_behind_is_bounded() -> None:
    members = Members()
    for name in NAMES:
        members.join(name, 100)
    for number in range(1, 5_000):
        (name,) = members.turns(1, everybody)
        members.give(name, number, number, 10**6)
        members.end([(number, number)])
    assert len(members._order) <= 2 * len(NAMES) + _SLACK + 2
    assert len(members._timers) <= SLACK + 2


def test_what_extensions_leave_behind_is_bounded() -> None:
    members = Members()
    members.join("one", 2)
    members.give("one", 1, 1, 50)
    members.give("one", 2, 2, 60)
    for until in range(100, 5_000):
        members.extend(1, 1, until)
    assert len(members._timers) <= SLACK + 5
    assert (members.expire(59), members.expire(60), members.expire(4_999)) == (60, 4_999, None)


def test_leases_are_looked_over_in_turn_where_somebody_has_no_credit_left() -> None:
    members = Members()
    members.join("one", 3)
    members.join("paused", 0)
    for number in (1, 2):
        members.give("one", number, number, 100, f"l{number}")
    assert members.look_over(5) == []
    members.give("one", 3, 3, 100, "l3")
    assert members.look_over(2) == [(1, 1, "l1"), (2, 2, "l2")]
    assert members.look_over(2) == [(3, 3, "l3"), (1, 1, "l1")]
    members.end([(2, 2)])
    assert members.look_over(2) == []
    members.give("one", 4, 4, 100, "l4")
    members.leave("one")
    members.join("two", 1)
    members.give("two", 5, 5, 100, "l5")
    assert members.look_over(9) == [(5, 5, "l5")]
