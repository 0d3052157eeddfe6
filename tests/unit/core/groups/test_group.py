"""A group's promises, whatever its members do: see each law below."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.groups.deliveries import Dead, DeliveryState, TrackedDelivery
from gateway.core.groups.finished import Finished
from gateway.core.groups.group import Group
from gateway.core.timing.due_times import SLACK

MEMBERS = st.sampled_from(["anne", "bert", "cleo"])
KEYS = st.sampled_from([None, "k1", "k2", "k3"])


class GroupLaws(RuleBasedStateMachine):
    """Members that take, acknowledge, fail and vanish, beside a list of what became of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000
        self.published: list[tuple[str, str | None]] = []
        self.leases: dict[int, tuple[int, str, int]] = {}
        self.stale: set[tuple[int, int]] = set()
        self.done: set[int] = set()
        self.dead: dict[int, Dead] = {}
        self.failed: dict[int, int] = {}
        self.delays: dict[int, int] = {}
        self.redriven: set[int] = set()
        self.sent_back_in_order: set[int] = set()
        self.first = 1
        self.lost: set[int] = set()

    @initialize(
        ordered=st.booleans(),
        hold=st.booleans(),
        fair=st.sampled_from(["", "key", "level:1"]),
        most=st.integers(1, 6),
    )
    def begin(self, *, ordered: bool, hold: bool, fair: str, most: int) -> None:
        self.configuration = GroupConfiguration(
            "g",
            ordered_by_key=ordered,
            hold_on_dead=hold,
            fair_by=fair,
            max_deliver=3,
            max_in_flight=most,
            backoff=(1.0, 5.0),
            ack_wait=10.0,
        )
        self.group = Group(self.configuration, finished=Finished())
        self.kept: dict[int, TrackedDelivery] = {}
        self.ranges: dict[int, int] = {}

    @rule(key=KEYS, tenant=st.sampled_from(["a", "b", "c"]), delay=st.sampled_from([0, 0, 0, 3_000]))
    def publish(self, key: str | None, tenant: str, delay: int) -> None:
        self.published.append((f"{tenant}/x", key))
        offset = len(self.published)
        self.delays[offset] = self.now + delay if delay else 0
        self.group.offer(offset, f"{tenant}/x", key, not_before=self.delays[offset], now=self.now)

    @rule()
    def publish_for_others(self) -> None:
        self.published.append(("other", None))
        self.done.add(len(self.published))
        self.group.pass_over(len(self.published))

    @rule(member=MEMBERS, count=st.integers(1, 4))
    def take(self, member: str, count: int) -> None:
        for offset in self.group.take(count):
            assert offset not in self.leases, "two leases at once"
            assert offset not in self.done
            if offset < self.first and offset not in self.redriven:
                self.group.gone(offset)
                self.done.add(offset)
                self.lost.add(offset)
                continue
            key = self.published[offset - 1][1]
            delivery = self.group.lease(offset, member, self.now)
            assert delivery.attempts == self.failed.get(offset, 0)
            assert all(delivery.fence > fence for _, fence in self.stale)
            self.leases[offset] = (delivery.fence, member, delivery.due)
            self._check_key(offset, key)

    def _check_key(self, offset: int, key: str | None) -> None:
        if not self.configuration.ordered_by_key or key is None:
            return
        same = {at for at, (_, other) in enumerate(self.published, 1) if other == key} - self.done
        assert not same & self.leases.keys() - {offset}, "two of one key at once"
        # What is sent back after its followers went on comes when it comes.
        late = self.redriven - self.sent_back_in_order
        assert min(same - late, default=offset) >= offset or offset in late

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        offset, (fence, _, _) = data.draw(st.sampled_from(sorted(self.leases.items())))
        assert self.group.ack(offset, fence)
        self._end(offset)
        self.done.add(offset)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=st.sampled_from([None, 0, 2_000]), dead=st.booleans())
    def nack(self, data: st.DataObject, delay: int | None, dead: bool) -> None:
        offset, (fence, _, _) = data.draw(st.sampled_from(sorted(self.leases.items())))
        answer = self.group.nack(offset, fence, self.now, delay, dead=dead)
        assert answer
        self._failed(offset, answer if isinstance(answer, Dead) else None, at_once=dead)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def use_a_stale_token(self, data: st.DataObject) -> None:
        offset, fence = data.draw(st.sampled_from(sorted(self.stale)))
        assert not self.group.ack(offset, fence)
        assert self.group.nack(offset, fence, self.now) is False
        assert not self.group.extend(offset, fence, self.now + 99_000)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        offset, (fence, member, due) = data.draw(st.sampled_from(sorted(self.leases.items())))
        assert self.group.extend(offset, fence, self.now + 15_000)
        self.leases[offset] = (fence, member, max(due, self.now + 15_000))

    @rule(member=MEMBERS)
    def release(self, member: str) -> None:
        mine = sorted(offset for offset, lease in self.leases.items() if lease[1] == member)
        assert self.group.release(member) == mine
        for offset in mine:
            self._end(offset)

    @rule(member=MEMBERS)
    def vanish(self, member: str) -> None:
        mine = sorted(offset for offset, lease in self.leases.items() if lease[1] == member)
        dead = {each.offset: each for each in self.group.lose(member, self.now)}
        for offset in mine:
            self._failed(offset, dead.pop(offset, None))
        assert not dead

    @rule(milliseconds=st.sampled_from([1, 1_000, 4_000, 10_000, 60_000]))
    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds
        dead = {each.offset: each for each in self.group.advance(self.now)}
        for offset in sorted(offset for offset, lease in self.leases.items() if lease[2] <= self.now):
            self._failed(offset, dead.pop(offset, None))
        assert not dead

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), redrive=st.booleans())
    def decide_on_the_dead(self, data: st.DataObject, redrive: bool) -> None:
        offset = data.draw(st.sampled_from(sorted(self.dead)))
        del self.dead[offset]
        held = self.configuration.ordered_by_key and self.configuration.hold_on_dead
        if redrive:
            self.group.redrive(offset, *self.published[offset - 1])
            self.failed[offset] = 0
            self.done.discard(offset)
            self.redriven.add(offset)
            if held:
                self.sent_back_in_order.add(offset)
        elif held:
            self.group.discard(offset)
            self.done.add(offset)

    @rule(count=st.integers(1, 3))
    def retention_takes(self, count: int) -> None:
        """What is kept by its dead letter stays; what is leased may still be acknowledged."""
        taken = range(self.first, min(self.first + count, len(self.published) + 1))
        self.first = taken.stop
        for offset in taken:
            self.group.drop(offset, self.published[offset - 1][1])
            if offset not in self.done | self.redriven | self.leases.keys() | self.dead.keys():
                self.done.add(offset)
                self.lost.add(offset)

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def remove_on_purpose(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(1, len(self.published)))
        if self.published[offset - 1][0] != "other":
            self.group.remove(offset, self.published[offset - 1][1])
            if offset in self.leases:
                self._end(offset)
            self.dead.pop(offset, None)
            self.done.add(offset)

    @rule()
    def restart(self) -> None:
        self._keep()
        finished = Finished(self.group.finished.floor, sorted(self.ranges.items()))
        kept = [replace(each, failures=list(each.failures)) for each in self.kept.values()]
        fence, lost = self.group.fence, self.group.lost
        self.group = Group(self.configuration, finished=finished, deliveries=kept, fence=fence)
        self.group.lost = lost
        sent_back = {offset: each for offset, each in self.group.deliveries.items() if offset in finished}
        for offset, delivery in self.group.deliveries.items():
            held = delivery.state is DeliveryState.DEAD
            if held or (offset in sent_back and delivery.fence):
                self.group.restore(offset, *self.published[offset - 1])
        # What retention took while it was leased may have come back since: nobody can get it again.
        for offset in sorted(set(range(1, self.first)) - self.done - sent_back.keys() - self.dead.keys()):
            if offset in self.leases:
                self._end(offset)
            self.done.add(offset)
            self.lost.add(offset)
        for offset in range(self.group.finished.floor + 1, len(self.published) + 1):
            topic, key = self.published[offset - 1]
            if topic == "other" or offset < self.first:
                self.group.pass_over(offset)
            else:
                self.group.offer(offset, topic, key, not_before=self.delays[offset], now=self.now)
        for offset, delivery in sent_back.items():
            if not delivery.fence:
                self.group.restore(offset, *self.published[offset - 1])

    def _keep(self) -> None:
        """What a store would do with the changes."""
        for offset in self.group.changed:
            delivery = self.group.deliveries.get(offset)
            if delivery is None:
                self.kept.pop(offset, None)
            else:
                self.kept[offset] = replace(delivery, failures=list(delivery.failures))
        self.group.changed.clear()
        for first in self.group.finished.changed:
            self.ranges.pop(first, None)
            if (found := self.group.finished.range_from(first)) is not None:
                self.ranges[first] = found[1]
        self.group.finished.changed.clear()

    def _end(self, offset: int) -> None:
        fence, _, _ = self.leases.pop(offset)
        self.stale.add((offset, fence))

    def _failed(self, offset: int, dead: Dead | None, *, at_once: bool = False) -> None:
        self._end(offset)
        self.failed[offset] = self.failed.get(offset, 0) + 1
        assert (dead is not None) == (at_once or self.failed[offset] >= 3)
        if dead is not None:
            assert dead.attempts == self.failed[offset]
            self.dead[offset] = dead
            if not (self.configuration.ordered_by_key and self.configuration.hold_on_dead):
                self.done.add(offset)

    @invariant()
    def nothing_is_lost_and_nothing_is_done_twice(self) -> None:
        if not hasattr(self, "group"):
            return
        depth = self.group.depth()
        assert depth.in_flight == len(self.leases) <= self.configuration.max_in_flight
        held = sum(each.state is DeliveryState.DEAD for each in self.group.deliveries.values())
        assert sum(depth) + held == len(self.published) - len(self.done)
        offsets = range(1, len(self.published) + 1)
        finished = {offset for offset in offsets if offset in self.group.finished}
        assert finished - self.group.deliveries.keys() == self.done
        assert self.group.lost == len(self.lost)

    def teardown(self) -> None:
        """In the end everything is acknowledged, or dead after exactly as many failures as there may be."""
        if not hasattr(self, "group"):
            return
        for offset in list(self.dead):
            self.group.discard(offset)
            self.done.add(offset)
        for _ in range(4 * len(self.published) + 4):
            self.wait(60_000)
            for offset in self.group.take(100):
                if offset < self.first and offset not in self.redriven:
                    self.group.gone(offset)
                    self.done.add(offset)
                    continue
                delivery = self.group.lease(offset, "last", self.now)
                assert self.group.ack(offset, delivery.fence)
                self.done.add(offset)
            for offset in list(self.dead):
                self.group.discard(offset)
                self.done.add(offset)
        assert self.done == set(range(1, len(self.published) + 1))
        assert self.group.finished.floor == len(self.published)
        assert not self.group.deliveries


TestGroupLaws = pytest.mark.filterwarnings("ignore")(GroupLaws.TestCase)
TestGroupLaws.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_shares_take_turns() -> None:
    """Ten thousand waiting jobs of one tenant don't delay another one's."""
    group = Group(GroupConfiguration("g", fair_by="level:2"), finished=Finished())
    for offset in range(1, 1001):
        group.offer(offset, "jobs/loud/x", None)
    for offset in range(1001, 1006):
        group.offer(offset, "jobs/quiet/x", None)
    assert group.take(10) == [1, 1001, 2, 1002, 3, 1003, 4, 1004, 5, 1005]


def test_what_answers_and_extensions_leave_behind_is_bounded() -> None:
    group = Group(GroupConfiguration("g", ack_wait=1000.0), finished=Finished())
    for offset in range(1, 3_001):
        group.offer(offset, "jobs/x", None)
    for offset in group.take(3_000):
        fence = group.lease(offset, "anne", offset).fence
        assert offset in {5, 3_000} or group.ack(offset, fence)
    for until in range(5_000):
        group.extend(3_000, group.deliveries[3_000].fence, 10**7 + until)
    assert len(group._timers) <= SLACK + 6
    # The running ones are all there.
    group.advance(10**6 + 5)
    assert (group.deliveries[5].attempts, group.deliveries[3_000].attempts) == (1, 0)
    group.advance(10**7 + 4_999)
    assert group.deliveries[3_000].attempts == 1
