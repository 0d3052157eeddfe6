"""What every client session does, whatever its transport: it sends, it is looked after, it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import nsmallest
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from gateway.core.cluster.info import ConnectionDetails, SubscriptionInfo
from gateway.core.fanout.outbox import Outbox
from gateway.core.messages.events import Welcome
from gateway.core.session.session import Close, Session, SessionState, failure
from gateway.engine.rights import shown_rights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.auth.principal import Principal
    from gateway.core.cluster.info import ConnectionInfo
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.messages.commands import Position
    from gateway.core.messages.encoder import Encoder
    from gateway.core.messages.events import Event, GoAway
    from gateway.core.messages.publication import Reference
    from gateway.core.session.close_codes import CloseCode
    from gateway.core.session.session import Reply
    from gateway.core.streams.stream import FollowedStream
    from gateway.engine.admission import ConnectionQuota
    from gateway.engine.commands import Outcome
    from gateway.errors import GatewayError
    from gateway.transports.accepted_connection import AcceptedConnection
    from gateway.transports.services import Services


class ClientConnection(Protocol):
    """Where a session's frames go, and how it ends."""

    def write(self, frames: bytes) -> None:
        """Hand over complete frames, joined."""
        ...

    def buffered_bytes(self) -> int:
        """What was written and hasn't left."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End behind what is buffered."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


C = TypeVar("C", bound=ClientConnection)

_MOST_SHOWN = 500
"""Subscriptions of one connection that administrators see."""

_MOST_SHOWN_CHARACTERS = 24 * 1024
"""Of their filters: four bytes each at most, and nodes tell each other no more than a few hundred KiB."""


class TransportSession(ABC, Generic[C]):
    """Glue between one connection, its session and its outbox; decides nothing.

    Attributes:
        accepted: who came, and from where.
        principal: who is connected.
        outbox: what is on its way to the client, and what for.
    """

    __slots__ = ("_connection", "_services", "_session", "accepted", "outbox", "principal")

    transport: ClassVar[str]
    """What administrators see of it."""

    def __init__(
        self,
        services: Services,
        connection: C,
        encoder: Encoder,
        accepted: AcceptedConnection,
        principal: Principal,
        *,
        authenticated: bool,
    ) -> None:
        now = services.clock()
        self._services = services
        self._connection = connection
        self._session = Session(
            accepted.session, services.session_limits, authenticated=authenticated, now=now
        )
        self.accepted = accepted
        self.principal = principal
        self.outbox = Outbox(connection, encoder, services.outbox_limits)
        if authenticated:
            self._session.admit(now, remaining=services.authentication.remaining(principal))

    def _begin(self, now: float) -> None:
        """Have the node know of it, and greet the client."""
        services = self._services
        services.sessions.attach(self, check_at=self._next_check(now + services.ping_interval))
        self._send(Welcome(self.id, services.node, self.authenticated, services.limits))

    @property
    def id(self) -> str:
        """The session's name."""
        return self._session.id

    @property
    def subject(self) -> str | None:
        """Whom the client speaks for; None while it is anonymous."""
        return self.principal.subject

    def facts(self) -> ConnectionInfo:
        """What administrators see of it."""
        return self.accepted.facts(
            self.outbox,
            transport=self.transport,
            subject=self.subject,
            buffered_bytes=self._connection.buffered_bytes(),
            now=self._services.clock(),
        )

    def details(self) -> ConnectionDetails:
        """What administrators see of it when they look closer."""
        read_on = self._services.hub.reads_on(self.outbox)
        return ConnectionDetails(
            self.facts(),
            filters=_shown(self.outbox.subscriptions.values(), read_on),
            positions={stream.name: (at.epoch, at.offset) for stream, at in read_on.items()},
            **shown_rights(self.principal),
        )

    # Called by use cases

    @property
    def authenticated(self) -> bool:
        """Whether a credential was right, be it that it has run out since."""
        return self._session.state is not SessionState.UNAUTHENTICATED

    @property
    def quota(self) -> ConnectionQuota:
        """What the connection takes of its subject's share."""
        return self.accepted.quota

    def admit(self, principal: Principal) -> None:
        """The client speaks for ``principal`` from now on."""
        services, session = self._services, self._session
        self.principal = principal
        session.admit(services.clock(), remaining=services.authentication.remaining(principal))
        if session.deadline is not None:
            services.sessions.check_by(self, session.deadline)

    def uncount(self) -> None:
        """A command doesn't count against the connection's rate, as turns out."""
        self._session.uncount()

    def deny(self, error: GatewayError, ref: Reference) -> Reply | Close:
        """The client's credential was not right: what that leads to."""
        return self._session.deny(error, ref)

    # Called by the connection

    def writable_changed(self, writable: bool) -> None:
        """The transport stopped taking, or takes again."""
        services = self._services
        if writable:
            services.delivery.resume(self.outbox)
        else:
            services.hub.block(self.outbox, self._connection.buffered_bytes(), now=services.clock())

    def _detach(self, *, lost: bool = False) -> None:
        """The connection has ended, as it should or not: nobody keeps anything for it; idempotent."""
        services = self._services
        services.consumer.end(self.outbox, lost=lost)
        services.subscriber.end(self.outbox)
        services.sessions.detach(self)
        self.accepted.quota.leave()
        self._session.close()

    # Called by the node

    @abstractmethod
    def check(self, now: float) -> float:
        """Do what time demands; return when to be asked again."""

    @abstractmethod
    def send_away(self, farewell: GoAway, code: CloseCode, reason: str) -> None:
        """Say that the node goes; see ``ClientSession``."""

    def expel(self, code: CloseCode, error: GatewayError) -> None:
        """Tell the client ``error`` and close."""
        self._session.close()
        self._carry_out(Close(code, error.told, failure(error, None, fatal=True)))

    def abort(self) -> None:
        """End at once."""
        self._connection.abort()

    # For the transports

    def _carry_out(self, effect: Reply | Close) -> None:
        """Do what the session's state machine has decided."""
        if effect.limit is not None:
            self._services.refusals.count(effect.limit)
        if effect.event is not None:
            self._send(effect.event)
        if type(effect) is Close:
            if effect.event is not None:
                # Ahead of its turn: the close frame goes out at once, and nothing may follow it.
                self._services.delivery.flush_one(self.outbox)
            # A client that doesn't answer the close frame is there for a while, and can't answer deliveries.
            self._services.consumer.end(self.outbox, lost=True)
            self._connection.close(effect.code, effect.reason)

    def _conclude(self, outcome: Outcome) -> None:
        """Tell the client what its command has led to."""
        if isinstance(outcome, list):
            self._send_all(outcome)
        else:
            self._carry_out(outcome)

    def _send(self, event: Event) -> None:
        self._services.delivery.send(self.outbox, event)

    def _send_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._send(event)

    def _next_check(self, at: float) -> float:
        deadline = self._session.deadline
        return at if deadline is None else min(at, deadline)


def _shown(
    subscriptions: Iterable[Subscription], read_on: Mapping[FollowedStream, Position]
) -> tuple[SubscriptionInfo, ...]:
    """The first of ``subscriptions`` by filter, as many as are told."""
    shown: list[SubscriptionInfo] = []
    characters = 0
    for each in nsmallest(_MOST_SHOWN, subscriptions, key=lambda subscription: subscription.filter):
        characters += len(each.filter) + sum(len(stream.name) for stream in each.streams)
        if characters > _MOST_SHOWN_CHARACTERS:
            break
        spilled = each.live and any(stream in read_on for stream in each.streams)
        shown.append(
            SubscriptionInfo(
                each.filter,
                each.overflow.value,
                "spilled" if spilled else each.state.value,
                tuple(stream.name for stream in each.streams),
                each.dropped,
                _positions(each, read_on),
            )
        )
    return tuple(shown)


def _positions(
    subscription: Subscription, read_on: Mapping[FollowedStream, Position]
) -> dict[str, tuple[str, int]]:
    """How far ``subscription`` has come in its streams, as far as that is known."""
    known = subscription.reader.positions if subscription.reader is not None else read_on
    found = {}
    for stream in subscription.streams:
        at = known.get(stream)
        if at is not None:
            found[stream.name] = (at.epoch, at.offset)
        elif subscription.live and stream.window is not None:
            found[stream.name] = (stream.window.epoch, stream.window.last)
    return found
