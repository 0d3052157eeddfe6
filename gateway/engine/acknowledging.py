"""The use case acknowledge: what members say of deliveries, whatever the door and whoever had the lease."""

from __future__ import annotations

from collections import defaultdict
from itertools import compress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from gateway.core.groups.delivery_token import LeaseName, decode_token
from gateway.core.messages.commands import Acknowledge, Extend, GiveBack, Reject
from gateway.core.messages.events import Acked
from gateway.errors import BadCommand, NotFound
from gateway.streams.groups.base import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from gateway.auth.grants import Grants
    from gateway.core.messages.events import Event
    from gateway.engine.groups import GroupKey, Groups

Answer: TypeAlias = Acknowledge | Reject | Extend | GiveBack
"""What a member says of deliveries."""

MOST_GROUPS_ANSWERED: Final = 64
"""Groups whose deliveries one command may name: each is asked for by itself, one after the other."""


class Answered(NamedTuple):
    """The tokens that were good, and those whose lease had run out; each in the order of the command."""

    done: tuple[str, ...]
    stale: tuple[str, ...]


class AnswerListener(Protocol):
    """Who has members that may have credit again, or waits for what a group has."""

    def answered(self, key: GroupKey, answer: Answer, leases: Sequence[tuple[Lease, bool]]) -> None:
        """These leases of a group were answered; each with whether it still was one."""
        ...


class AcknowledgeService:
    """Carries answers out."""

    def __init__(self, groups: Groups, listeners: Iterable[AnswerListener] = ()) -> None:
        self._groups = groups
        self._listeners = tuple(listeners)

    async def answer(
        self, answer: Answer, grants: Grants, done_with: Callable[[], object] = bool
    ) -> list[Event]:
        """The same as ``settle``, for a connection: the reply, where one was asked for.

        ``done_with`` is called where nobody will hear again of any delivery that was named: there are no more
        such answers than deliveries.
        """
        done, stale = await self.settle(answer, grants)
        if not stale and (isinstance(answer, Acknowledge) or (isinstance(answer, Reject) and answer.dead)):
            done_with()
        return [] if answer.ref is None else [Acked(done, stale, ref=answer.ref)]

    async def settle(self, answer: Answer, grants: Grants) -> Answered:
        """Carry ``answer`` out, group by group.

        Raises:
            NotPermitted: a token is of a group that the principal may not consume from; nothing was done.
            BadCommand: the tokens are of too many groups; nothing was done.
            StreamUnavailable: the store can't keep it; some of it may have been done all the same.
        """
        tokens = answer.deliveries
        if len(tokens) == 1:
            # As most members answer: one by one.
            name = decode_token(tokens[0])
            if name is None:
                return Answered((), tokens)
            await self._groups.when_known(name.stream, name.group, grants)
            self._groups.check_grant(name.stream, name.group, grants)
            good = await self._settle_group((name.stream, name.group), (name,), answer)
            return Answered(tokens, ()) if good[0] else Answered((), tokens)
        return await self._settle_several(answer, grants)

    async def _settle_several(self, answer: Answer, grants: Grants) -> Answered:
        tokens = answer.deliveries
        by_group: defaultdict[GroupKey, dict[str, LeaseName]] = defaultdict(dict)
        for token in tokens:
            name = decode_token(token)
            if name is not None:
                by_group[name.stream, name.group][token] = name
        if len(by_group) > MOST_GROUPS_ANSWERED:
            raise BadCommand(
                f"the deliveries are of {len(by_group)} groups; one command answers those of"
                f" {MOST_GROUPS_ANSWERED} at most"
            )
        for stream, group in by_group:
            await self._groups.when_known(stream, group, grants)
        for stream, group in by_group:
            self._groups.check_grant(stream, group, grants)
        good: set[str] = set()
        for key, named in by_group.items():
            found = await self._settle_group(key, named.values(), answer)
            good.update(named if all(found) else compress(named, found))
        if len(good) == len(tokens):
            return Answered(tokens, ())
        return Answered(
            tuple([token for token in tokens if token in good]),
            tuple([token for token in tokens if token not in good]),
        )

    async def _settle_group(
        self, key: GroupKey, named: Collection[LeaseName], answer: Answer
    ) -> Sequence[bool]:
        """For each lease of a group whether it still was one."""
        leases = [Lease(offset, fence, life) for _, _, offset, fence, life in named]
        try:
            found = await self._carry_out(key, leases, answer)
        except NotFound:
            # The group is no more, and its leases neither.
            return [False] * len(leases)
        counts = self._groups.counts[key]
        done = sum(found)
        counts.stale += len(found) - done
        if isinstance(answer, Acknowledge):
            counts.acknowledged += done
        elif isinstance(answer, Reject):
            counts.rejected += done
        told = list(zip(leases, found, strict=True))
        for listener in self._listeners:
            listener.answered(key, answer, told)
        return found

    async def _carry_out(self, key: GroupKey, leases: Sequence[Lease], answer: Answer) -> Sequence[bool]:
        store = self._groups.store
        if store is None:
            raise NotFound("no stream is configured")
        match answer:
            case Acknowledge():
                return await store.acknowledge(*key, leases)
            case Reject(delay=delay, dead=dead):
                return await store.reject(*key, leases, delay=delay, dead=dead)
            case Extend(by=by):
                return await store.extend(*key, leases, by)
            case GiveBack():
                return await store.give_back(*key, leases)
