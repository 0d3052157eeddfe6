"""The use case authenticate: a connection gets a principal, or keeps it with a new credential."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.messages.events import Authenticated, Event, Failure
from gateway.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.principal import Authenticator, Principal
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.commands import Authenticate
    from gateway.engine.admission import ConnectionQuota
    from gateway.engine.subscribing import SubscribeService


class Authentication:
    """Carries ``auth`` out for all transports."""

    def __init__(
        self, authenticator: Authenticator, subscriber: SubscribeService, *, wall_clock: Callable[[], float]
    ) -> None:
        self._authenticator = authenticator
        self._subscriber = subscriber
        self._wall_clock = wall_clock

    @property
    def anonymous(self) -> Principal | None:
        """What a connection without a credential is; None where one is required."""
        return self._authenticator.anonymous

    async def authenticate(self, token: str) -> Principal:
        """Return whom ``token`` speaks for; see ``Authenticator``."""
        return await self._authenticator.authenticate(token)

    async def take_on(
        self, principal: Principal, former: Principal | None, outbox: Outbox, place: ConnectionQuota
    ) -> list[Event]:
        """Have a connection that was ``former``'s speak for ``principal``; no command may come meanwhile.

        Returns:
            An ``error`` for each subscription that the new grants don't cover and that has ended for it.

        Raises:
            NotPermitted: the connection speaks for another subject already.
            TooMany: the subject has as many connections as it may.
        """
        if former is not None and former.subject is not None and former.subject != principal.subject:
            raise NotPermitted("the credential is another subject's than this connection's")
        place.identify(principal.subject)
        if not outbox.subscriptions or (former is not None and former.grants == principal.grants):
            return []
        ended = await self._subscriber.restrict(outbox, principal.grants)
        return [
            Failure("forbidden", f"the subscription to {each!r} has ended: no grant covers it any more")
            for each in ended
        ]

    def remaining(self, principal: Principal) -> float | None:
        """Seconds until ``principal``'s credential runs out, less than 0 if it has; None if it never does."""
        return None if principal.expires is None else principal.expires / 1000 - self._wall_clock()


def answer(principal: Principal, command: Authenticate) -> Authenticated:
    """The reply to an ``auth`` that was right."""
    return Authenticated(principal.subject, principal.expires, ref=command.ref)
