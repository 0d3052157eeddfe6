"""The use case administration on this node alone: who is connected, ending connections, blocking subjects.

``cluster_administration`` carries the same to every node.
"""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING

import anyio.lowlevel

from gateway.auth.claims import LEEWAY_SECONDS
from gateway.core.cluster.connection_pages import slowness
from gateway.core.cluster.control import Connections, Described, SlowConnections
from gateway.core.session.close_codes import CloseCode
from gateway.errors import NotPermitted, SubjectBlocked, TokenExpired, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from gateway.auth.principal import Principal, PromptAuthenticator
    from gateway.core.cluster.block_list import BlockList
    from gateway.core.cluster.control import SearchConnections
    from gateway.core.cluster.info import ConnectionInfo
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.sessions import Sessions


_SLICE = 200
"""Sessions ended before other work gets its turn."""


class Administration:
    """Looks at and ends the sessions of this node."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def connections(self, *, limit: int, after: str = "") -> Connections:
        """Return the ``limit`` connections whose sessions' names follow ``after``."""
        names = heapq.nsmallest(limit + 1, (name for name in self._sessions.open if name > after))
        page = names[:limit]
        facts = tuple(self._sessions.open[name].facts() for name in page)
        return Connections(facts, page[-1] if len(names) > limit else None)

    async def search(self, asked: SearchConnections) -> Connections | SlowConnections:
        """Return the connections that are like what is ``asked`` for."""
        if asked.slow:
            slow: list[ConnectionInfo] = []
            async for facts in self._matching(asked, list(self._sessions.open)):
                slow.append(facts)
                if len(slow) >= 2 * asked.limit:
                    slow = heapq.nsmallest(asked.limit, slow, key=slowness)
            return SlowConnections(tuple(heapq.nsmallest(asked.limit, slow, key=slowness)))
        names = sorted(name for name in self._sessions.open if name > asked.after)
        found: list[ConnectionInfo] = []
        async for facts in self._matching(asked, names):
            if len(found) == asked.limit:
                return Connections(tuple(found), found[-1].session)
            found.append(facts)
        return Connections(tuple(found), None)

    async def _matching(
        self, asked: SearchConnections, names: Sequence[str]
    ) -> AsyncGenerator[ConnectionInfo, None]:
        for number, name in enumerate(names, start=1):
            session = self._sessions.open.get(name)
            if session is not None and asked.subject in {None, session.subject}:
                facts = session.facts()
                if facts.peer.startswith(asked.address):
                    yield facts
            if number % _SLICE == 0:
                await anyio.lowlevel.checkpoint()

    def describe(self, session: str) -> Described:
        """Return what there is to know of one connection."""
        found = self._sessions.open.get(session)
        return Described(None if found is None else found.details())

    def disconnect_session(self, session: str) -> bool:
        """End one connection with 4403; return whether there is such a session on this node."""
        found = self._sessions.open.get(session)
        if found is None:
            return False
        found.expel(CloseCode.BLOCKED, NotPermitted("disconnected by an administrator"))
        return True

    async def disconnect_subjects(self, subjects: Collection[str]) -> int:
        """End every connection of ``subjects`` with 4403, and return how many there were on this node."""
        ended = [session for session in self._sessions.open.values() if session.subject in subjects]
        for number, session in enumerate(ended, start=1):
            session.expel(CloseCode.BLOCKED, SubjectBlocked("disconnected by an administrator"))
            if number % _SLICE == 0:
                await anyio.lowlevel.checkpoint()
        return len(ended)


class GuardedAuthenticator:
    """An authenticator behind which blocked subjects are refused, whatever door they come to."""

    def __init__(
        self,
        inner: PromptAuthenticator,
        blocks: BlockList,
        refusals: Refusals,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Stand before ``inner``; ``clock`` tells monotonic seconds, ``wall_clock`` those since 1970."""
        self._inner = inner
        self._blocks = blocks
        self._refusals = refusals
        self._clock = clock
        self._wall_clock = wall_clock
        self.required = inner.required
        self.anonymous = inner.anonymous

    async def authenticate(self, token: str) -> Principal:
        """Return whom ``token`` speaks for.

        Raises:
            Unauthenticated: it is not right, or not any more.
            SubjectBlocked: it is right, and its subject is blocked.
            Unavailable: it can't be told now.
        """
        try:
            principal = await self._inner.authenticate(token)
        except Unauthenticated:
            self._refusals.count("credential")
            raise
        # After the await: a subject blocked while keys were fetched must not slip in.
        self._refuse_blocked(principal)
        return principal

    def known(self, token: str) -> Principal | None:
        """Return whom ``token`` speaks for, if that is known and nobody is blocked; it has no effect."""
        principal = self._inner.known(token)
        blocked = principal is not None and self._is_blocked(principal)
        return None if blocked else principal

    def reused(self) -> None:
        """What ``known`` answered counts as ``authenticate`` would have counted it."""
        self._inner.reused()

    def recognise(self, token: str) -> Principal | None:
        """As ``authenticate``, where nothing has to be waited for; else None."""
        try:
            principal = self._inner.recognise(token)
        except Unauthenticated:
            self._refusals.count("credential")
            raise
        if principal is not None:
            self._refuse_blocked(principal)
        return principal

    def confirm(self, principal: Principal) -> None:
        """See that ``principal``, who was let in before, would be let in now.

        Raises:
            SubjectBlocked: its subject has been blocked since.
            TokenExpired: its credential has run out since.
        """
        if principal.expires is not None and self._wall_clock() >= (
            principal.expires / 1000 + LEEWAY_SECONDS
        ):
            raise TokenExpired("the credential has run out")
        self._refuse_blocked(principal)

    def _refuse_blocked(self, principal: Principal) -> None:
        if self._is_blocked(principal):
            self._refusals.count("block")
            raise SubjectBlocked("the subject is blocked for now")

    def _is_blocked(self, principal: Principal) -> bool:
        return principal.subject is not None and self._blocks.blocked(principal.subject, self._clock())
