"""A connection at the door: who it is, where it comes from, and the share of the node that it takes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.cluster.info import ConnectionInfo

if TYPE_CHECKING:
    from gateway.auth.principal import Principal
    from gateway.core.fanout.outbox import Outbox
    from gateway.engine.admission import ConnectionQuota


class AcceptedConnection(NamedTuple):
    """A client whose handshake was accepted.

    Attributes:
        quota: whoever keeps the connection leaves its share when that ends.
        peer: address and port it comes from, as a trusted proxy tells where there is one.
        principal: of the handshake's credential; None without one.
        session: the new session's name.
        connected: milliseconds since 1970.
    """

    quota: ConnectionQuota
    peer: str
    principal: Principal | None
    session: str
    connected: int

    @classmethod
    def now(cls, quota: ConnectionQuota, peer: str, principal: Principal | None) -> AcceptedConnection:
        """One that is accepted at this moment."""
        # Eight bytes of the system's randomness, as `secrets` gives them in four calls.
        return cls(quota, peer, principal, os.urandom(8).hex(), time.time_ns() // 1_000_000)

    def facts(
        self, outbox: Outbox, *, transport: str, subject: str | None, buffered_bytes: int, now: float
    ) -> ConnectionInfo:
        """What administrators see of the connection.

        Args:
            outbox: has its subscriptions, and what waits for it.
            transport: ``websocket`` or ``sse``.
            subject: whom it speaks for by now; None while anonymous.
            buffered_bytes: what was written to its transport and hasn't left.
            now: the time by which the outbox was told that it is blocked.
        """
        return ConnectionInfo(
            session=self.session,
            subject=subject,
            peer=self.peer,
            transport=transport,
            connected=self.connected,
            subscriptions=len(outbox.subscriptions),
            waiting_messages=outbox.waiting_messages,
            waiting_bytes=outbox.waiting_bytes + buffered_bytes,
            fill=round(outbox.fill(buffered_bytes), 3),
            blocked_ms=None if outbox.blocked_since is None else int((now - outbox.blocked_since) * 1000),
        )
