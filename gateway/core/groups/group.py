"""A group's deliveries: who has which publication until when, what failed how often, what comes next.

    delayed --due--> ready --lease--> leased --ack--> finished
                       ^                |
                       |   nack, lease run out, member lost (each counts; release doesn't)
                       +---after its backoff, or, after ``max_deliver`` of them: dead

Pure: time comes in as milliseconds since 1970, publications as their offsets, in order. What must outlive the
process is in ``deliveries`` and ``finished``; both note what changed. Whatever is neither finished nor in
``deliveries`` is waiting, and offered anew after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.groups.deliveries import Dead, DeliveryState, GroupDepth, TrackedDelivery
from gateway.core.groups.leases import Leases
from gateway.core.groups.turns import Turns
from gateway.core.timing.due_times import DueTimes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.groups.finished import Finished


class Group:
    """One group's state.

    Attributes:
        deliveries: by offset, everything that isn't simply waiting.
        finished: what is done.
        offered: the last offset that was offered or passed.
        fence: of the newest lease.
        changed: offsets whose entry in ``deliveries`` changed since ``changed`` was cleared.
        redelivered: leases of what had failed before.
        lost: publications that retention took before they were finished.
    """

    def __init__(
        self,
        configuration: GroupConfiguration,
        *,
        finished: Finished,
        deliveries: Iterable[TrackedDelivery] = (),
        fence: int = 0,
    ) -> None:
        """Begin with what was kept; leases that are still running go on."""
        self.configuration = configuration
        self.deliveries = {each.offset: each for each in deliveries}
        self.finished = finished
        self.offered = finished.floor
        self.fence = fence
        self.changed: set[int] = set()
        self.redelivered = self.lost = self._delayed = 0
        self._turns = Turns(ordered=configuration.ordered_by_key)
        self._timers = DueTimes[int](self._is_due)
        self._leases = Leases()
        self._taken: dict[int, str] = {}
        # What the log is yet to offer again; what was sent back from the dead letters it doesn't.
        self._expected = {offset for offset in self.deliveries if offset not in finished}

    # What comes

    def wanted(self, count: int) -> int:
        """How many publications to offer before ``count`` can be leased; fair groups have to know all."""
        if self.configuration.fair_by:
            return 1 << 30
        return max(0, min(count, self.room) - self._turns.ready)

    @property
    def room(self) -> int:
        """How many leases may begin now."""
        return max(0, self.configuration.most_in_flight - self._leases.count - len(self._taken))

    def offer(self, offset: int, topic: str, key: str | None, *, not_before: int = 0, now: int = 0) -> None:
        """A publication that the group is for; offsets only grow."""
        self.pass_over(offset - 1)
        self.offered = offset
        if offset in self.finished:
            return
        known = self.deliveries.get(offset)
        if known is not None and offset not in self._expected:
            return  # held as dead, and put in its place before
        self._expected.discard(offset)
        share = self.configuration.share_of(topic, key)
        if known is None and not_before > now:
            known = self.deliveries[offset] = TrackedDelivery(offset, due=not_before)
        if known is not None:
            self._place(known, key, share)
        elif not self._turns.enter(offset, key, share):
            self._turns.make_ready(offset, share)

    def pass_over(self, offset: int) -> None:
        """Up to ``offset`` nothing more is for the group."""
        if offset > self.offered:
            if self._expected:
                self._miss(offset)
            self.finished.add(self.offered + 1, offset)
            self.offered = offset

    # Leases

    def take(self, count: int) -> list[int]:
        """The next publications in turn, at most ``count``; each must be leased, put back or be gone."""
        taken: list[int] = []
        for _ in range(min(count, self.room)):
            found = self._turns.take()
            if found is None:
                break
            offset, share = found
            taken.append(offset)
            self._taken[offset] = share
        return taken

    def put_back(self, offset: int) -> None:
        """What was taken can't be delivered now, for no fault of its own."""
        self._turns.make_ready(offset, self._taken.pop(offset))

    def give_back(self, offset: int, fence: int) -> bool:
        """A lease ends before anything was done, and counts as nothing; False where it had run out."""
        if (delivery := self.leased(offset, fence)) is None:
            return False
        self.redelivered -= delivery.attempts > 0
        self._leases.let_go(delivery)
        self._make_ready(delivery)
        return True

    def gone(self, offset: int, *, lost: bool = True) -> None:
        """What was taken isn't in the log any more: it is lost, or was removed on purpose."""
        del self._taken[offset]
        self.lost += lost
        self._finish(offset)

    def lease(self, offset: int, member: str, now: int) -> TrackedDelivery:
        """Give what was taken to ``member``."""
        share = self._taken.pop(offset)
        delivery = self.deliveries.get(offset)
        if delivery is None:
            delivery = self.deliveries[offset] = TrackedDelivery(offset, share)
        self.fence += 1
        delivery.begin_lease(member, self.fence, now, now + round(self.configuration.ack_wait * 1000))
        self.redelivered += delivery.attempts > 0
        self._hold(delivery)
        self.changed.add(offset)
        return delivery

    def ack(self, offset: int, fence: int) -> bool:
        """A member has done it; False where its lease had run out."""
        delivery = self.leased(offset, fence)
        if delivery is None:
            return False
        self._leases.let_go(delivery)
        self._finish(offset)
        return True

    def nack(
        self,
        offset: int,
        fence: int,
        now: int,
        delay: int | None = None,
        *,
        dead: bool = False,
        reason: str = "nack",
    ) -> Dead | bool:
        """A member could not do it: again after ``delay`` ms, or its backoff, or to the dead letters now."""
        if (delivery := self.leased(offset, fence)) is None:
            return False
        return self._fail(delivery, now, reason, delay=delay, dead=dead) or True

    def extend(self, offset: int, fence: int, until: int) -> bool:
        """A member needs longer; False where its lease had run out."""
        if (delivery := self.leased(offset, fence)) is None:
            return False
        delivery.due = max(delivery.due, until)
        self._timers.add(delivery.due, offset)
        self.changed.add(offset)
        return True

    def release(self, member: str) -> list[int]:
        """A member goes as it should: what it has goes back at once, and nothing is counted."""
        offsets = self._leases.of(member)
        for offset in offsets:
            delivery = self.deliveries[offset]
            self._leases.let_go(delivery)
            self._make_ready(delivery)
        return offsets

    def lose(self, member: str, now: int) -> list[Dead]:
        """A member has vanished: what it had has failed."""
        failed = (self._fail(self.deliveries[each], now, "member lost") for each in self._leases.of(member))
        return [each for each in failed if each is not None]

    def advance(self, now: int) -> list[Dead]:
        """Let time pass: what is due may go out, leases that have run out have failed."""
        dead: list[Dead] = []
        while (offset := self._timers.take(now)) is not None:
            delivery = self.deliveries[offset]
            if delivery.state is DeliveryState.DELAYED:
                self._delayed -= 1
                self._make_ready(delivery)
            elif delivery.state is DeliveryState.LEASED:
                failed = self._fail(delivery, now, "lease ran out")
                dead += [] if failed is None else [failed]
        return dead

    @property
    def next_due(self) -> int | None:
        """When ``advance`` has something to do (ms since 1970), at the earliest; None: never."""
        return self._timers.next

    # The end

    def redrive(self, offset: int, topic: str, key: str | None) -> None:
        """A dead letter is tried again, from the first attempt on; where it kept its key waiting, at once."""
        delivery = self.deliveries.get(offset)
        if delivery is not None:
            if delivery.state is DeliveryState.DEAD:
                delivery.attempts = delivery.due = 0
                delivery.failures.clear()
                self.finished.add(offset, offset)
                self._make_ready(delivery)
            return
        share = self.configuration.share_of(topic, key)
        delivery = self.deliveries[offset] = TrackedDelivery(offset, share)
        self.changed.add(offset)
        if not self._turns.enter(offset, key, share):
            self._turns.make_ready(offset, share)

    def restore(self, offset: int, topic: str, key: str | None) -> None:
        """What was redriven, or is held as dead, goes on after a restart; the log doesn't offer it again.

        To be called for what had been delivered before (``fence``) before anything is offered, and for the
        others once everything in ``deliveries`` was: what was first of its key stays so.
        """
        self._expected.discard(offset)
        self._place(self.deliveries[offset], key, self.configuration.share_of(topic, key))

    def drop(self, offset: int, key: str | None) -> None:
        """Retention has taken a publication that was offered: what isn't finished is lost.

        What was sent back is kept elsewhere, and what is leased may still be acknowledged.
        """
        delivery = self.deliveries.get(offset)
        if delivery is None and offset in self.finished:
            return
        kept = delivery is not None and (
            delivery.state in {DeliveryState.LEASED, DeliveryState.DEAD} or self._redriven(offset)
        )
        # What has just been taken will be found missing.
        if not kept and offset not in self._taken and offset not in self._expected:
            self.lost += 1
            self._withdraw(offset, key, delivery)

    def remove(self, offset: int, key: str | None) -> None:
        """A publication was removed on purpose, with all copies: whatever it waits for, it is done."""
        delivery = self.deliveries.get(offset)
        if (delivery is None and offset in self.finished) or offset in self._taken:
            return
        if offset in self._expected:
            self._expected.discard(offset)
            self._forget(offset)
        elif delivery is not None and delivery.state is DeliveryState.LEASED:
            self._leases.let_go(delivery)
            self._finish(offset)
        elif delivery is not None and delivery.state is DeliveryState.DEAD:
            self._finish(offset)
        else:
            self._withdraw(offset, key, delivery)

    def discard(self, offset: int) -> None:
        """A dead letter that kept its key waiting is given up."""
        delivery = self.deliveries.get(offset)
        if delivery is not None and delivery.state is DeliveryState.DEAD:
            self._finish(offset)

    def members(self) -> dict[str, int]:
        """Who has leases, and how many."""
        return self._leases.members()

    def parked_behind(self, offset: int, key: str | None) -> int | None:
        """The offset that a publication of this key is parked behind, or None."""
        return self._turns.parked_behind(offset, key)

    def depth(self) -> GroupDepth:
        """How many of what was offered are where."""
        ready, parked = self._turns.ready, self._turns.parked
        return GroupDepth(ready + len(self._taken), self._leases.count, self._delayed, parked)

    def leased(self, offset: int, fence: int) -> TrackedDelivery | None:
        """What a member has, if it still has it."""
        delivery = self.deliveries.get(offset)
        if delivery is None or delivery.state is not DeliveryState.LEASED or delivery.fence != fence:
            return None
        return delivery

    # Inside

    def _is_due(self, due: int, offset: int) -> bool:
        """Whether a lease or a delay still ends then."""
        delivery = self.deliveries.get(offset)
        return delivery is not None and delivery.due == due

    def _withdraw(self, offset: int, key: str | None, delivery: TrackedDelivery | None) -> None:
        """Finish what waits, is delayed or parked."""
        if delivery is not None and delivery.state is DeliveryState.DELAYED:
            self._delayed -= 1
            self._finish(offset)
        elif self._turns.remove(offset, key):
            self._forget(offset)
        else:
            self._finish(offset)

    def _miss(self, through: int) -> None:
        """The log doesn't offer again what was known of it: it is lost."""
        for offset in [each for each in self._expected if each <= through]:
            self._expected.discard(offset)
            self.lost += 1
            self._forget(offset)

    def _forget(self, offset: int) -> None:
        if self.deliveries.pop(offset, None) is not None:
            self.changed.add(offset)
        self.finished.add(offset, offset)

    def _redriven(self, offset: int) -> bool:
        return offset in self.deliveries and offset in self.finished

    def _hold(self, delivery: TrackedDelivery) -> None:
        self._leases.hold(delivery)
        self._timers.add(delivery.due, delivery.offset)

    def _make_ready(self, delivery: TrackedDelivery) -> None:
        delivery.state, delivery.due = DeliveryState.READY, 0
        self._turns.make_ready(delivery.offset, delivery.share)
        self.changed.add(delivery.offset)

    def _delay(self, delivery: TrackedDelivery, until: int) -> None:
        delivery.state = DeliveryState.DELAYED
        delivery.due = until
        self._delayed += 1
        self._timers.add(until, delivery.offset)
        self.changed.add(delivery.offset)

    def _fail(
        self,
        delivery: TrackedDelivery,
        now: int,
        reason: str,
        *,
        delay: int | None = None,
        dead: bool = False,
    ) -> Dead | None:
        self._leases.let_go(delivery)
        first = delivery.fail(now, reason)
        if dead or 0 < self.configuration.max_deliver <= delivery.attempts:
            if self.configuration.ordered_by_key and self.configuration.hold_on_dead:
                delivery.state = DeliveryState.DEAD
                self.changed.add(delivery.offset)
            else:
                self._finish(delivery.offset)
            return Dead(delivery.offset, reason, delivery.attempts, first, now)
        self._delay(
            delivery, now + (self.configuration.wait_after(delivery.attempts) if delay is None else delay)
        )
        return None

    def _finish(self, offset: int) -> None:
        if self.deliveries.pop(offset, None) is not None:
            self.changed.add(offset)
        self.finished.add(offset, offset)
        following = self._turns.finish(offset)
        if following is None:
            return
        delivery = self.deliveries.get(following[0])
        if delivery is None:
            self._turns.make_ready(*following)
        elif not delivery.due:
            self._make_ready(delivery)
        else:
            # Delayed by its publisher: it may be due by now, or not yet.
            self._delay(delivery, delivery.due)

    def _place(self, delivery: TrackedDelivery, key: str | None, share: str) -> None:
        """Go on with a delivery as it is, or park it behind others of its key; it keeps when it is due."""
        delivery.share = share
        leased, dead = delivery.state is DeliveryState.LEASED, delivery.state is DeliveryState.DEAD
        if self._turns.enter(delivery.offset, key, share, out=leased or dead):
            delivery.state = DeliveryState.READY
        elif leased:
            self._hold(delivery)
        elif delivery.due and not dead:
            self._delay(delivery, delivery.due)
        elif not dead:
            self._make_ready(delivery)
