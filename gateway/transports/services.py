"""What all client sessions of a node share, as one object: a slot per session and part would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.auth.principal import Principal
    from gateway.auth.requests import RequestPrincipals
    from gateway.codecs.base import Codec
    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.outbox import OutboxLimits
    from gateway.core.session.session import SessionLimits
    from gateway.engine.admission import Admission
    from gateway.engine.authentication import Authentication
    from gateway.engine.commands import CommandDispatcher
    from gateway.engine.consuming import ConsumeService
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.sessions import Sessions
    from gateway.engine.subscribing import SubscribeService
    from gateway.observability.connection_log import ConnectionLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What all client sessions of a node share.

    Attributes:
        node: its name.
        principals: finds for whom a handshake speaks.
        confirm: raises where a principal that was let in would not be let in any more.
        limits: those that ``welcome`` announces.
        ping_interval: seconds of silence after which a client is pinged.
        pong_timeout: seconds it then has.
        clock: monotonic seconds.
    """

    node: str
    codec: Codec
    hub: Hub
    delivery: DeliveryService
    commands: CommandDispatcher
    subscriber: SubscribeService
    consumer: ConsumeService
    sessions: Sessions
    principals: RequestPrincipals
    confirm: Callable[[Principal], None]
    admission: Admission
    authentication: Authentication
    refusals: Refusals
    log: ConnectionLog
    limits: Mapping[str, int]
    session_limits: SessionLimits
    outbox_limits: OutboxLimits
    ping_interval: float
    pong_timeout: float
    clock: Callable[[], float]
