"""What a session sends its client, and whether the client may be read on meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.core.fanout.outbox import Outbox
from gateway.core.session.session import failure
from gateway.errors import GatewayError, InternalError

if TYPE_CHECKING:
    import asyncio

    from gateway.core.messages.commands import Reference
    from gateway.core.messages.events import Event
    from gateway.core.session.session import Session
    from gateway.transports.services import Services
    from gateway.transports.websocket.connection import Connection


class ReplyChannel:
    """The half of a client's session that talks: replies go out, and reading waits where it must.

    Every reason to wait holds once and releases once; the client is read while nothing holds.
    """

    __slots__ = ("_connection", "_holds", "_lane_held", "_outbox", "_services", "_session")

    def __init__(self, services: Services, connection: Connection, session: Session) -> None:
        self._services = services
        self._connection = connection
        self._session = session
        self._outbox = Outbox(connection, services.codec, services.outbox_limits)
        connection.write_for(self._outbox)
        self._holds = 0
        self._lane_held = False

    def _send(self, event: Event) -> None:
        outbox = self._outbox
        self._services.delivery.send(outbox, event)
        # Kept apart from `lane_full`: a gap told by the outbox itself can fill the lane as well.
        if outbox.lane_full and not self._lane_held:
            self._lane_held = True
            self._hold()

    def _send_all(self, events: list[Event]) -> None:
        for event in events:
            self._send(event)

    def _hold(self) -> None:
        self._holds += 1
        if self._holds == 1:
            self._connection.pause_reading()

    def _release(self) -> None:
        self._holds -= 1
        if self._holds == 0:
            self._connection.resume_reading()

    def _failed(self, future: asyncio.Future[Any], ref: Reference) -> bool:
        """Whether there is no result; the client is told why."""
        if future.cancelled():
            return True
        error = future.exception()
        if error is not None:
            self._tell(error, ref)
        return error is not None

    def _tell(self, error: BaseException, ref: Reference) -> None:
        if not isinstance(error, GatewayError):
            self._services.log.failed(self._session.id, error)
            error = InternalError("internal error")
        self._send(failure(error, ref))
