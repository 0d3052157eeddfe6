"""Keeps leases alive while somebody works on what they are for, and tells when one is lost all the same.

A lease is extended well before it ends. After a reconnect each is extended at once, on the new connection:
a token is good there too, so the answer tells which leases the gateway has taken back and which outlived the
old connection. While nobody can be asked, a lease counts as lost once it must have run out.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from gateway.client.errors import ConnectionLost
from gateway.core.messages.commands import Extend
from gateway.core.messages.events import Acked
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.client.connection import GatewayConnection
    from gateway.client.lease import ClientLease
    from gateway.client.link import Link
    from gateway.client.replies import Answer

log = logging.getLogger(__name__)

_MOST: Final = 500
"""Leases that one command extends at most."""

_AGAIN: Final = 10
"""After which part of a lease an extension that was refused for now is tried again."""


class LeaseKeeper:
    """The leases of one client that are kept alive."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._kept: set[ClientLease] = set()
        self._changed = anyio.Event()
        self._awake_at = math.inf

    def keep(self, lease: ClientLease) -> None:
        """Keep ``lease`` alive from now on."""
        self._kept.add(lease)
        # Most are due later than those that are kept already: nobody need look at all of them.
        if lease.extend_at < self._awake_at or lease.doubtful():
            self._changed.set()

    def forget(self, lease: ClientLease) -> None:
        """Nobody works on it any more."""
        self._kept.discard(lease)

    async def run(self) -> None:
        """Do it, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_connections)
            while True:
                self._changed = anyio.Event()
                await self._extend_due()
                self._awake_at = self._next_due()
                with anyio.CancelScope(deadline=self._awake_at):
                    await self._changed.wait()

    async def _watch_connections(self) -> None:
        while True:
            try:
                connection = await self._link.connected()
            except GatewayError:
                # For good: what is kept runs out.
                return
            self._changed.set()
            await connection.ended.wait()

    def _next_due(self) -> float:
        connected = self._link.current is not None
        return min(
            (min(each.ends, each.extend_at) if connected else each.ends for each in self._kept),
            default=math.inf,
        )

    async def _extend_due(self) -> None:
        now = anyio.current_time()
        for lease in [each for each in self._kept if now >= each.ends]:
            self._kept.discard(lease)
            lease.lose()
        connection = self._link.current
        if connection is None:
            return
        due: defaultdict[tuple[tuple[str, str], float], list[ClientLease]] = defaultdict(list)
        for lease in self._kept:
            if now >= lease.extend_at or lease.doubtful():
                due[lease.key, lease.seconds].append(lease)
        for (_, seconds), leases in due.items():
            for first in range(0, len(leases), _MOST):
                await self._extend(connection, leases[first : first + _MOST], seconds)

    async def _extend(
        self, connection: GatewayConnection, leases: Sequence[ClientLease], seconds: float
    ) -> None:
        """Ask, and don't wait for the answer: time goes on for the others."""
        now = anyio.current_time()
        for lease in leases:
            lease.extend_at = now + lease.seconds / _AGAIN
        ref = connection.replies.expect(partial(self._extended, connection, leases, now))
        tokens = tuple(each.token for each in leases)
        try:
            await connection.send(Extend(tokens, max(1, round(seconds * 1000)), ref=ref))
        except ConnectionLost:
            # The next one will be asked.
            connection.replies.forget(ref)

    def _extended(
        self, connection: GatewayConnection, leases: Sequence[ClientLease], asked_at: float, answer: Answer
    ) -> None:
        if not isinstance(answer, Acked):
            if not isinstance(answer, ConnectionLost):
                log.warning("leases could not be extended: %s", answer)
            return
        done = set(answer.deliveries)
        for lease in leases:
            if lease.token in done:
                lease.confirm(asked_at, connection)
            else:
                self._kept.discard(lease)
                lease.lose()
        self._changed.set()
