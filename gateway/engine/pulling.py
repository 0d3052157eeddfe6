"""The use case pull: members of groups without a socket, who ask for deliveries and may wait for some.

Each pull is a member of its own, whose name nobody else has; when the asker vanishes nobody notices, and its
leases run out. What couldn't be told, since nobody waited for it any more, goes back at once.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Final

import anyio

from gateway.engine.groups import GroupKey, delivery_of
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.auth.grants import Grants
    from gateway.core.messages.events import Delivery
    from gateway.engine.acknowledging import Answer
    from gateway.engine.following.reading import StreamReader
    from gateway.engine.groups import Groups
    from gateway.streams.groups.base import Lease, LeasedPublication, Taken
    from gateway.supervision import Background

MOST_PULLED: Final = 1_000
LONGEST_PULL_SECONDS: Final = 30

_STEP: Final = 32
"""How many deliveries are leased at once: no more are held beyond what an answer may have."""

_ANSWER_BYTES: Final = 1024 * 1024
"""An answer that has so much has no more deliveries."""


class PullService:
    """Serves members without a socket."""

    def __init__(
        self,
        groups: Groups,
        reader: StreamReader,
        background: Background,
        *,
        node: str,
        clock: Callable[[], int],
    ) -> None:
        """Serve pulls, of which as many wait as ``reader`` lets wait; ``clock`` tells ms since 1970."""
        self._groups = groups
        self._reader = reader
        self._background = background
        self._node = node
        self._clock = clock
        self._numbers = count(1)
        self._waiting: dict[asyncio.Event, GroupKey] = {}
        self._ending = False

    async def pull(
        self, stream: str, group: str, grants: Grants, *, most: int, wait: float, asker: str
    ) -> list[Delivery]:
        """Lease what there is, at most ``most`` deliveries; where nothing is, wait ``wait`` seconds for it.

        Raises:
            NotPermitted: no grant allows it.
            NotFound: there is no such group.
            TooMany: as many wait already as may, or ``asker`` has more places than it leaves to others.
            StreamUnavailable: the store can't be reached.
        """
        await self._groups.when_known(stream, group, grants)
        store = self._groups.consumable(stream, group, grants)
        pull = _Pull((stream, group), f"{self._node}/http/{next(self._numbers)}", most)
        # Before anything is remembered of the group: it may be a name that nothing bears.
        await self._take(pull)
        if pull.leased or wait <= 0 or self._ending:
            return pull.deliveries()
        with self._reader.waiting_place(asker):
            news = asyncio.Event()
            unwatch = store.watch(stream, group, news.set)
            self._waiting[news] = pull.key
            try:
                await self._wait(pull, news, wait)
            finally:
                del self._waiting[news]
                unwatch()
        return pull.deliveries()

    def answered(self, key: GroupKey, answer: Answer, leases: Sequence[tuple[Lease, bool]]) -> None:  # noqa: ARG002 - see `AnswerListener`
        """See ``AnswerListener``: there may be room for more leases."""
        for news, waited_for in self._waiting.items():
            if waited_for == key:
                news.set()

    @property
    def waiting(self) -> int:
        """How many wait for something to come."""
        return len(self._waiting)

    def end(self) -> None:
        """Let nobody wait any longer: the node is about to end."""
        self._ending = True
        for news in self._waiting:
            news.set()

    async def _wait(self, pull: _Pull, news: asyncio.Event, wait: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            news.clear()
            due = await self._take(pull)
            left = until - loop.time()
            if pull.leased or left <= 0 or self._ending:
                return
            with anyio.move_on_after(left if due is None else min(left, due)):
                await news.wait()

    async def _take(self, pull: _Pull) -> float | None:
        """Lease what there is; the seconds until there may be more that nobody tells of."""
        while True:
            taken = await self._take_step(pull)
            pull.add(taken.deliveries)
            self._groups.counts[pull.key].delivered += len(taken.deliveries)
            if len(taken.deliveries) < _STEP or pull.full:
                break
        if taken.next_due is None:
            return None
        now = self._clock() if taken.now is None else taken.now
        return max(0.001, (taken.next_due - now) / 1000)

    async def _take_step(self, pull: _Pull) -> Taken:
        """Lease some; who goes away meanwhile leaves nothing leased."""
        taking: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._background.start(self._lease, pull, taking)
        try:
            return await taking
        except BaseException:
            # What has come was for somebody who doesn't get it; be it that it came when he had just gone.
            leased = list(pull.leased)
            if taking.done() and not taking.cancelled() and taking.exception() is None:
                leased += taking.result().deliveries
            if leased:
                self._background.start(self._give_back, pull.key, [each.lease for each in leased])
            raise

    async def _lease(self, pull: _Pull, taking: asyncio.Future[Taken]) -> None:
        store = self._groups.store
        assert store is not None, "as the pull found it"
        members = [pull.name] * min(_STEP, pull.most - len(pull.leased))
        try:
            taken = await store.take(*pull.key, members)
        except Exception as error:  # noqa: BLE001 - it is the asker's to handle
            if not taking.done():
                taking.set_exception(error)
            return
        if not taking.done():
            taking.set_result(taken)
        elif taken.deliveries:
            await self._give_back(pull.key, [each.lease for each in taken.deliveries])

    async def _give_back(self, key: GroupKey, leases: Sequence[Lease]) -> None:
        store = self._groups.store
        assert store is not None, "as the pull found it"
        try:
            await store.give_back(*key, leases)
        except GatewayError:
            # They run out: the same, only later, and counted as failures.
            return


class _Pull:
    """One pull, and what it has so far."""

    def __init__(self, key: GroupKey, name: str, most: int) -> None:
        self.key = key
        self.name = name
        self.most = most
        self.leased: list[LeasedPublication] = []
        self._size = 0

    def add(self, leased: Sequence[LeasedPublication]) -> None:
        self.leased += leased
        for each in leased:
            body = each.publication.data if each.publication.data is not None else each.publication.binary
            self._size += len(body or b"")

    @property
    def full(self) -> bool:
        return len(self.leased) >= self.most or self._size >= _ANSWER_BYTES

    def deliveries(self) -> list[Delivery]:
        return [delivery_of(self.key, each) for each in self.leased]
