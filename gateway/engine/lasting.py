"""HTTP requests that go on after their credential was looked at: sessions, like every lasting client.

A stream of lines that is published, a reader that waits for news, a body that comes slowly. Each is in the
register of sessions as long as it lasts, so that what ends sessions ends it too: a block, an administrator,
its credential's end, a drain.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final, Self, TypeVar

import anyio

from gateway.auth.claims import LEEWAY_SECONDS
from gateway.core.cluster.info import ConnectionDetails, ConnectionInfo
from gateway.engine.rights import shown_rights
from gateway.errors import GatewayError, TokenExpired, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from types import TracebackType

    from gateway.auth.principal import Principal
    from gateway.core.messages.events import GoAway
    from gateway.core.session.close_codes import CloseCode
    from gateway.engine.administration import GuardedAuthenticator
    from gateway.engine.sessions import Sessions

T = TypeVar("T")

_LOOK_SECONDS: Final = 60.0
"""How often a request is looked at that has nothing to be looked at for."""


class LastingRequests:
    """Takes requests into the register of sessions."""

    def __init__(
        self,
        sessions: Sessions,
        guard: GuardedAuthenticator,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Take them into ``sessions``; ``clock`` tells monotonic seconds, ``wall_clock`` those since 1970."""
        self._sessions = sessions
        self._guard = guard
        self._clock = clock
        self._wall_clock = wall_clock

    def confirm(self, principal: Principal) -> None:
        """See that ``principal`` may still do what it might when its request came; sees no renewal.

        Raises:
            SubjectBlocked: an administrator has blocked it meanwhile.
            TokenExpired: its credential has run out meanwhile.
        """
        self._guard.confirm(principal)

    def begin(self, principal: Principal, peer: str, *, patient: bool) -> LastingRequest:
        """Take a request of ``principal`` from ``peer`` in, until the context that this returns is left.

        A drain ends it at once, unless it is ``patient``: about to end by itself.

        Raises:
            SubjectBlocked: see ``confirm``.
            TokenExpired: see ``confirm``.
            Unavailable: the node drains, and the request would not end by itself.
        """
        self.confirm(principal)
        if self._sessions.draining and not patient:
            raise _draining()
        now = self._clock()
        deadline = None
        if principal.expires is not None:
            deadline = now + principal.expires / 1000 - self._wall_clock() + LEEWAY_SECONDS
        request = LastingRequest(self, principal, peer, deadline=deadline, patient=patient)
        self._sessions.attach(request, check_at=request.next_check(now), request=True)
        return request

    def end(self, request: LastingRequest) -> None:
        """Let ``request`` go; idempotent."""
        self._sessions.detach(request)


class LastingRequest:
    """One request; a context that is left when the request has been answered.

    Attributes:
        id: the session's name.
        principal: who sent it.
        ended: why it may not go on; None as long as it may.
    """

    __slots__ = (
        "_connected",
        "_deadline",
        "_patient",
        "_peer",
        "_requests",
        "_scope",
        "ended",
        "id",
        "principal",
    )

    def __init__(
        self,
        requests: LastingRequests,
        principal: Principal,
        peer: str,
        *,
        deadline: float | None,
        patient: bool,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.principal = principal
        self.ended: GatewayError | None = None
        self._requests = requests
        self._peer = peer
        self._deadline = deadline
        self._patient = patient
        self._connected = time.time_ns() // 1_000_000
        self._scope: anyio.CancelScope | None = None

    def __enter__(self) -> Self:
        """Go on."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""
        self._requests.end(self)

    async def wait(self, wanted: Awaitable[T]) -> T:
        """Await ``wanted`` as long as the request may go on.

        Raises:
            GatewayError: ``ended``.
        """
        with anyio.CancelScope() as scope:
            self._scope = scope
            if self.ended is not None:
                scope.cancel()
            try:
                return await wanted
            finally:
                self._scope = None
        assert self.ended is not None
        raise self.ended

    async def each(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """What ``pieces`` brings as long as the request may go on; then raises ``ended``."""
        while (piece := await self.wait(anext(pieces, None))) is not None:
            self.confirm()
            yield piece

    def confirm(self) -> None:
        """See that the request may go on, this very moment.

        Raises:
            GatewayError: ``ended``.
        """
        if self.ended is None:
            try:
                self._requests.confirm(self.principal)
            except GatewayError as error:
                self.ended = error
        if self.ended is not None:
            raise self.ended

    # Called by the node

    @property
    def subject(self) -> str | None:
        """Whom it speaks for; None for an anonymous client."""
        return self.principal.subject

    def facts(self) -> ConnectionInfo:
        """What administrators see of it."""
        return ConnectionInfo(
            session=self.id,
            subject=self.subject,
            peer=self._peer,
            transport="http",
            connected=self._connected,
            subscriptions=0,
            waiting_messages=0,
            waiting_bytes=0,
        )

    def details(self) -> ConnectionDetails:
        """What administrators see of it when they look closer."""
        return ConnectionDetails(self.facts(), **shown_rights(self.principal))

    def expel(self, code: CloseCode, error: GatewayError) -> None:  # noqa: ARG002 - HTTP has no such codes
        """Answer ``error``."""
        self._end(error)

    def check(self, now: float) -> float:
        """End it with its credential; return when to be asked again."""
        if self._deadline is not None and now >= self._deadline:
            self._end(TokenExpired("the credential has run out"))
        return self.next_check(now)

    def next_check(self, now: float) -> float:
        """When there is something to be looked at, or a while from ``now``."""
        at = now + _LOOK_SECONDS
        return at if self._deadline is None or self._deadline <= now else min(at, self._deadline)

    def send_away(self, farewell: GoAway, code: int, reason: str) -> None:  # noqa: ARG002 - as above
        """Answer that the node drains; one that ends by itself is given its time."""
        if self._patient:
            self._patient = False
        else:
            self._end(_draining())

    def abort(self) -> None:
        """End it at once."""
        self._end(_draining())

    def _end(self, error: GatewayError) -> None:
        if self.ended is None:
            self.ended = error
            if self._scope is not None:
                self._scope.cancel()


def _draining() -> Unavailable:
    return Unavailable("the node drains: send the rest to another one")
