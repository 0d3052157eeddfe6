"""The use case authenticate: a connection gets a principal, or keeps it with a new credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.core.messages.events import Authenticated, Event, Failure
from gateway.errors import GatewayError, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.principal import Authenticator, Principal
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.commands import Authenticate
    from gateway.core.messages.publication import Reference
    from gateway.core.session.session import Close, Reply
    from gateway.engine.admission import ConnectionQuota
    from gateway.engine.consuming import ConsumeService
    from gateway.engine.subscribing import SubscribeService


class CommandClient(Protocol):
    """A connection that commands come from, as far as use cases look at it, or change it."""

    @property
    def id(self) -> str:
        """The session's name."""
        ...

    @property
    def principal(self) -> Principal:
        """Whom it speaks for."""
        ...

    @property
    def authenticated(self) -> bool:
        """Whether that is known, be it that the credential has run out since."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Holds its subscriptions."""
        ...

    @property
    def quota(self) -> ConnectionQuota:
        """What it takes of its subject's share."""
        ...

    def admit(self, principal: Principal) -> None:
        """It speaks for ``principal`` from now on, until the credential runs out."""
        ...

    def uncount(self) -> None:
        """A command of it doesn't count against its rate, as turns out."""
        ...

    def deny(self, error: GatewayError, ref: Reference) -> Reply | Close:
        """Its credential was not right: what that leads to."""
        ...


class Authentication:
    """Carries ``auth`` out for all transports."""

    def __init__(
        self,
        authenticator: Authenticator,
        subscriber: SubscribeService,
        consumer: ConsumeService,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._authenticator = authenticator
        self._subscriber = subscriber
        self._consumer = consumer
        self._wall_clock = wall_clock

    @property
    def anonymous(self) -> Principal | None:
        """What a connection without a credential is; None where one is required."""
        return self._authenticator.anonymous

    async def authenticate(self, token: str) -> Principal:
        """Return whom ``token`` speaks for; see ``Authenticator``."""
        return await self._authenticator.authenticate(token)

    async def renew(self, command: Authenticate, client: CommandClient) -> list[Event] | Reply | Close:
        """Have ``client`` speak for whom the token does; no command of it may come meanwhile.

        Returns:
            An ``error`` for each subscription, and each group, that the new grants don't cover and that has
            ended for it, then the reply; or what a credential leads to that is wrong or may not be used here.
        """
        # Before anything is awaited: what the token is compared with is what the connection was when it came.
        former = client.principal if client.authenticated else None
        try:
            principal = await self.authenticate(command.token)
            ended = await self._change_principal(principal, former, client)
        except GatewayError as error:
            return client.deny(error, command.ref)
        client.admit(principal)
        return [*ended, Authenticated(principal.subject, principal.expires, ref=command.ref)]

    async def _change_principal(
        self, principal: Principal, former: Principal | None, client: CommandClient
    ) -> list[Event]:
        if former is not None and former.subject is not None and former.subject != principal.subject:
            raise NotPermitted("the credential is another subject's than this connection's")
        # Before any subscription ends: a subject with too many connections keeps what it has.
        client.quota.identify(principal.subject)
        outbox = client.outbox
        if former is not None and former.grants == principal.grants:
            return []
        told = self._consumer.restrict(outbox, principal.grants)
        if not outbox.subscriptions:
            return told
        ended = await self._subscriber.restrict(outbox, principal.grants)
        return told + [
            Failure("forbidden", f"the subscription to {each!r} has ended: no grant covers it any more")
            for each in ended
        ]

    def remaining(self, principal: Principal) -> float | None:
        """Seconds until ``principal``'s credential runs out, less than 0 if it has; None if it never does."""
        return None if principal.expires is None else principal.expires / 1000 - self._wall_clock()
