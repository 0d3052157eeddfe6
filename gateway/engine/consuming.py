"""The use case consume: this node's connections are members of groups, and get what the store leases to them.

Nothing runs for a group that has nothing to do: whatever may change that (an append, an answer, credit, time,
a connection that takes again) wakes it, and one task at a time takes and delivers until there is no more. A
connection that doesn't take just now is passed over, so it holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.core.groups.delivery_token import decode_token
from gateway.core.groups.members import Members
from gateway.core.messages.commands import Extend
from gateway.core.messages.events import Consuming, Failure, Released
from gateway.core.timing.backoff import Backoff
from gateway.core.topics.grammar import DEFAULT_LIMITS, TopicLimits, parse_filter
from gateway.engine.groups import GroupKey, delivery_of
from gateway.engine.lease_review import LeaseReview
from gateway.errors import Conflict, GatewayError, NotFound, Unavailable
from gateway.streams.groups.base import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.auth.grants import Grants
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.commands import Consume, Release
    from gateway.core.messages.events import Event
    from gateway.engine.acknowledging import Answer
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.groups import Groups
    from gateway.streams.groups.base import GroupStore, Taken
    from gateway.supervision import Background

_FEWEST: Final = 16
_MOST: Final = 512
"""How many deliveries are asked for in one step: more and more while all of them come."""

_MOST_EACH: Final = 10
"""For each member, where that is more: what it gets together costs one write, and one answer."""

_MOST_OF_ALL: Final = 1024

_PIECE: Final = 64 * 1024
"""Bytes that a connection is given before it is asked whether it takes more."""

_AFTER_FAILURE: Final = Backoff(first_seconds=0.1, limit_seconds=2.0)


class _Served:
    """One group, as far as this node has members of it."""

    def __init__(self, key: GroupKey, wake: Callable[[], None]) -> None:
        self.key = key
        self.wake = wake
        self.members = Members()
        self.review = LeaseReview()
        self.outboxes: dict[str, Outbox] = {}
        self.names: dict[Outbox, str] = {}
        self.blocked: set[str] = set()
        self.step = _FEWEST
        self.running = False
        self.woken = False
        self.failures = 0
        self.timer: asyncio.TimerHandle | None = None
        self.unwatch: Callable[[], object] = bool


class ConsumeService:
    """Serves the members that this node's connections are."""

    def __init__(
        self,
        groups: Groups,
        delivery: DeliveryService,
        background: Background,
        *,
        node: str,
        clock: Callable[[], int],
        topic_limits: TopicLimits = DEFAULT_LIMITS,
    ) -> None:
        """Serve connections that ``delivery`` writes to; ``clock`` tells ms since 1970."""
        self._groups = groups
        self._delivery = delivery
        self._background = background
        self._node = node
        self._clock = clock
        self._topic_limits = topic_limits
        self._served: dict[GroupKey, _Served] = {}
        self._of: defaultdict[Outbox, set[GroupKey]] = defaultdict(set)
        self._numbers = 0
        self._departures: set[asyncio.Future[None]] = set()

    @property
    def members(self) -> int:
        """How many members this node's connections are."""
        return sum(len(each.members) for each in self._served.values())

    # Members

    async def consume(self, outbox: Outbox, session: str, command: Consume, grants: Grants) -> list[Event]:
        """Make a connection a member of a group, or change its credit.

        The reply is on its way when this returns: it goes ahead of the first delivery.

        Raises:
            NotPermitted: no grant allows it.
            BadFilter: the command names a filter that is none.
            NotFound: there is no such group.
            Conflict: the group works something else off than the command says.
            StreamUnavailable: the store can't tell.
        """
        await self._groups.when_known(command.stream, command.group, grants)
        store = self._groups.consumable(command.stream, command.group, grants)
        if command.filter is not None:
            parse_filter(command.filter, self._topic_limits)
        configuration = (await store.groups(command.stream)).get(command.group)
        if configuration is None:
            raise NotFound(f"stream {command.stream[:64]!r} has no group {command.group[:64]!r}")
        if command.filter is not None and command.filter != configuration.filter:
            raise Conflict(f"the group's filter is {configuration.filter!r}, not {command.filter[:128]!r}")
        if outbox.closed:
            return []
        key = (command.stream, command.group)
        if (served := self._served.get(key)) is None:
            served = _Served(key, partial(self._wake, key))
            served.unwatch = store.watch(*key, served.wake)
            self._served[key] = served
        if (name := served.names.get(outbox)) is None:
            self._numbers += 1
            name = f"{self._node}/{session}/{self._numbers}"
            served.names[outbox] = name
            served.outboxes[name] = outbox
            self._of[outbox].add(key)
        served.members.join(name, command.credit)
        lease = round(configuration.ack_wait * 1000)
        self._delivery.send(outbox, Consuming(*key, command.credit, lease, ref=command.ref))
        self._wake(key)
        return []

    async def release(self, outbox: Outbox, command: Release, grants: Grants) -> list[Event]:
        """Have a connection be no member any more; what it has, or what is named, goes back at once.

        Where deliveries are named it stays a member. Those whose lease has ended are passed over.

        Raises:
            NotPermitted: no grant allows it.
            NotFound: it is no member.
            StreamUnavailable: the store can't keep it: what the member has comes back when its leases end.
        """
        await self._groups.when_known(command.stream, command.group, grants)
        store = self._groups.consumable(command.stream, command.group, grants)
        key = (command.stream, command.group)
        if command.deliveries:
            await self._give_back(store, key, command.deliveries)
            return [Released(*key, ref=command.ref)]
        name = self._leave(outbox, key)
        if name is None:
            raise NotFound("this connection does not consume from that group")
        # The connection may end meanwhile; what it had goes back all the same.
        await asyncio.shield(self._depart(key, name, lost=False))
        return [Released(*key, ref=command.ref)]

    async def _give_back(self, store: GroupStore, key: GroupKey, tokens: Sequence[str]) -> None:
        named = [name for name in map(decode_token, tokens) if name is not None and name[:2] == key]
        await store.give_back(*key, [Lease(each.offset, each.fence, each.life) for each in named])
        if (served := self._served.get(key)) is not None:
            served.members.end([(each.offset, each.fence) for each in named])
        self._wake(key)

    def groups_of(self, outbox: Outbox) -> list[GroupKey]:
        """The groups that a connection is a member of."""
        return sorted(self._of.get(outbox, ()))

    def restrict(self, outbox: Outbox, grants: Grants) -> list[Event]:
        """Have a connection be a member only where ``grants`` allow it; what is told of those that end."""
        told: list[Event] = []
        for key in self.groups_of(outbox):
            if not grants.may_consume(*key):
                if (name := self._leave(outbox, key)) is not None:
                    self._depart(key, name, lost=False)
                reason = f"consuming from {'/'.join(key)!r} has ended: no grant covers it any more"
                told += [Failure("forbidden", reason), Released(*key)]
        return told

    def end(self, outbox: Outbox, *, lost: bool) -> None:
        """A connection has ended: as it should, or ``lost``; idempotent."""
        self._delivery.forget(outbox)
        for key in self._of.pop(outbox, ()):
            if (name := self._leave(outbox, key)) is not None:
                self._depart(key, name, lost=lost)

    async def departed(self) -> None:
        """Return once the store knows of all members that have gone: before it ends."""
        while self._departures:
            await asyncio.wait(self._departures)

    def _leave(self, outbox: Outbox, key: GroupKey) -> str | None:
        served = self._served.get(key)
        name = None if served is None else served.names.pop(outbox, None)
        if served is None or name is None:
            return None
        served.members.leave(name)
        served.blocked.discard(name)
        del served.outboxes[name]
        if (held := self._of.get(outbox)) is not None:
            held.discard(key)
            if not held:
                del self._of[outbox]
        if not served.names:
            self._let_go(served)
        return name

    def _let_go(self, served: _Served) -> None:
        served.unwatch()
        if served.timer is not None:
            served.timer.cancel()
        del self._served[served.key]

    def _depart(self, key: GroupKey, name: str, *, lost: bool) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._departures.add(done)
        done.add_done_callback(self._departures.discard)
        self._background.start(self._tell_departure, key, name, lost, done)
        return done

    async def _tell_departure(self, key: GroupKey, name: str, lost: bool, done: asyncio.Future[None]) -> None:
        store = self._groups.store
        assert store is not None, "there was a member"
        try:
            await (store.lose if lost else store.release)(*key, name)
        except NotFound:
            pass  # the group has gone too
        except GatewayError as error:
            # Its leases run out: the same, only later, and counted as failures.
            done.set_exception(error)
            done.exception()  # who doesn't wait for it has nothing to hear of it
        finally:
            if not done.done():
                done.set_result(None)

    # What comes

    def answered(self, key: GroupKey, answer: Answer, leases: Sequence[tuple[Lease, bool]]) -> None:
        """See ``AnswerListener``: members may have credit again."""
        served = self._served.get(key)
        if served is None:
            return
        if isinstance(answer, Extend):
            until = self._clock() + answer.by
            for lease, good in leases:
                if good:
                    served.members.extend(lease.offset, lease.fence, until)
            leases = [each for each in leases if not each[1]]
        served.members.end([(lease.offset, lease.fence) for lease, _ in leases])
        self._wake(key)

    def _wake(self, key: GroupKey) -> None:
        served = self._served.get(key)
        if served is None:
            return
        served.woken = True
        # What can't be asked is asked when its time has come, not each time that something happens.
        if not served.running and not served.failures:
            self._begin(served)

    def _begin(self, served: _Served) -> None:
        served.running = True
        self._background.start(self._serve, served)

    # Deliveries

    async def _serve(self, served: _Served) -> None:
        """Take and deliver until nothing is left to give, or nobody to give it to."""
        due: int | None = None
        try:
            while served.woken and self._served.get(served.key) is served:
                served.woken = False
                due = await self._take(served)
                served.failures = 0
                # A store in memory never waits, and others want their turn.
                await asyncio.sleep(0)
        except NotFound:
            self._dismiss(served)
        except Unavailable:
            due = self._failed(served)
        except Exception:
            due = self._failed(served)
            raise
        finally:
            served.running = False
            self._schedule(served, due)

    def _failed(self, served: _Served) -> int:
        served.failures += 1
        return self._clock() + round(_AFTER_FAILURE.ceiling(served.failures) * 1000)

    def _dismiss(self, served: _Served) -> None:
        """The group has gone: its members are told, and are none any more."""
        stream, group = served.key
        for outbox in list(served.names):
            self._leave(outbox, served.key)
            self._delivery.send(outbox, Failure("not_found", f"the group {stream}/{group} has been removed"))
            self._delivery.send(outbox, Released(stream, group))

    def _schedule(self, served: _Served, due: int | None) -> None:
        if served.timer is not None:
            served.timer.cancel()
            served.timer = None
        if self._served.get(served.key) is not served:
            return
        if served.woken and not served.failures:
            self._begin(served)
        elif due is not None:
            seconds = max(0.001, (due - self._clock()) / 1000)
            served.timer = asyncio.get_running_loop().call_later(seconds, self._due, served)

    def _due(self, served: _Served) -> None:
        served.timer = None
        if not served.running:
            served.woken = True
            self._begin(served)

    async def _take(self, served: _Served) -> int | None:
        """One step; when there may be more that nobody tells of (ms since 1970)."""
        store = self._groups.store
        assert store is not None, "there is a member"
        now = self._clock()
        runs_out = served.members.expire(now)
        looks = await served.review.look(store, served.key, served.members, now)
        order = served.members.turns(served.step, partial(self._takes, served))
        if not order:
            return _earliest(runs_out, looks)
        taken = await store.take(*served.key, order)
        back = self._deliver(served, taken)
        if back:
            # Somebody else may take them.
            served.woken = True
            await store.give_back(*served.key, back)
        if len(taken.deliveries) == len(order):
            served.woken = True
            most = max(_MOST, min(_MOST_EACH * len(served.members), _MOST_OF_ALL))
            served.step = min(most, served.step * 2)
        else:
            served.step = _FEWEST
        next_due = None if taken.next_due is None else taken.next_due + self._ahead_of(taken)
        return _earliest(next_due, runs_out, looks)

    def _ahead_of(self, taken: Taken) -> int:
        """By how many ms this node's clock is ahead of the store's."""
        return 0 if taken.now is None else self._clock() - taken.now

    def _takes(self, served: _Served, name: str) -> bool:
        """Whether a member takes now; where it doesn't, it wakes the group once it does again."""
        outbox = served.outboxes[name]
        if not outbox.closed and not outbox.direct and name not in served.blocked:
            served.blocked.add(name)
            self._delivery.when_direct(outbox, partial(self._takes_again, served.key, name))
        return outbox.direct

    def _takes_again(self, key: GroupKey, name: str) -> None:
        if (served := self._served.get(key)) is not None:
            served.blocked.discard(name)
            served.members.enter(name)
            self._wake(key)

    def _deliver(self, served: _Served, taken: Taken) -> list[Lease]:
        """Give deliveries to their members; those to give back: the member has gone, or takes no more."""
        back: list[Lease] = []
        frames: dict[str, list[bytes]] = {}
        sizes: defaultdict[str, int] = defaultdict(int)
        members, outboxes, key, ahead = served.members, served.outboxes, served.key, self._ahead_of(taken)
        for leased in taken.deliveries:
            member, (offset, fence, _) = leased.member, leased.lease
            outbox = outboxes.get(member)
            if outbox is None or not outbox.direct:
                back.append(leased.lease)
                continue
            members.give(member, offset, fence, leased.deadline + ahead, leased.lease.life)
            frame = outbox.encoder.encode(delivery_of(key, leased))
            frames.setdefault(member, []).append(frame)
            sizes[member] += len(frame)
            if sizes[member] >= _PIECE:
                self._delivery.write_now(outbox, frames[member])
                frames[member] = []
                del sizes[member]
        for member, pieces in frames.items():
            members.enter(member)
            if member in outboxes:
                self._delivery.write_now(outboxes[member], pieces)
        self._groups.counts[key].delivered += len(taken.deliveries) - len(back)
        return back


def _earliest(*times: int | None) -> int | None:
    return min((each for each in times if each is not None), default=None)
