"""The use case administration: who is connected, and ending connections.

``disconnect_subject`` is the one thing that concerns every node: what a cluster's nodes tell each other
is its arguments.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.lowlevel

from gateway.core.session import CloseCode
from gateway.errors import NotFound, NotPermitted, SubjectBlocked, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.principal import Authenticator, Principal
    from gateway.core.block_list import BlockList
    from gateway.core.facts import ConnectionFacts
    from gateway.engine.refusals import Refusals
    from gateway.engine.sessions import Sessions


_SLICE = 200
"""Sessions ended before other work gets its turn."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some connections, in the order of their sessions' names; ``next`` is ``after`` of the next page."""

    connections: list[ConnectionFacts]
    next: str | None


class Administration:
    """Looks at and ends the sessions of this node; block times are milliseconds since 1970."""

    def __init__(self, sessions: Sessions, blocks: BlockList, *, wall_clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._blocks = blocks
        self._wall_clock = wall_clock

    def connections(self, *, limit: int, after: str = "") -> Page:
        """Return the ``limit`` connections whose sessions' names follow ``after``."""
        names = heapq.nsmallest(limit + 1, (name for name in self._sessions.open if name > after))
        page = names[:limit]
        facts = [self._sessions.open[name].facts() for name in page]
        return Page(facts, page[-1] if len(names) > limit else None)

    def disconnect_session(self, session: str) -> None:
        """End one connection with 4403.

        Raises:
            NotFound: there is no such session on this node.
        """
        found = self._sessions.open.get(session)
        if found is None:
            raise NotFound(f"no session {session[:64]!r}")
        found.expel(CloseCode.BLOCKED, NotPermitted("disconnected by an administrator"))

    async def disconnect_subject(self, subject: str, *, blocked_until: int | None) -> int:
        """End every connection of ``subject`` with 4403 and, if asked, refuse new ones until then.

        Returns:
            How many there were on this node.

        Raises:
            TooMany: the block list is full; nothing was ended.
        """
        if blocked_until is not None:
            # First, or a client that is quick could be back before it is blocked.
            self._blocks.block(subject, blocked_until, now=self._wall_clock() * 1000)
        ended = [session for session in self._sessions.open.values() if session.subject == subject]
        for number, session in enumerate(ended, start=1):
            session.expel(CloseCode.BLOCKED, SubjectBlocked("disconnected by an administrator"))
            if number % _SLICE == 0:
                await anyio.lowlevel.checkpoint()
        return len(ended)

    def blocked_until(self, seconds: float) -> int:
        """The end of a block of ``seconds`` that begins now."""
        return int((self._wall_clock() + seconds) * 1000)


class GuardedAuthenticator:
    """An authenticator behind which blocked subjects are refused, whatever door they come to."""

    def __init__(
        self,
        inner: Authenticator,
        blocks: BlockList,
        refusals: Refusals,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._inner = inner
        self._blocks = blocks
        self._refusals = refusals
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
        if principal.subject is not None and self._blocks.blocked(
            principal.subject, self._wall_clock() * 1000
        ):
            self._refusals.count("block")
            raise SubjectBlocked("the subject is blocked for now")
        return principal
