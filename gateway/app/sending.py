"""Sends of one turn handed over together, where the system allows it and the settings want it."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.transports.server.send_ring import SendRing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from structlog.stdlib import BoundLogger

    from gateway.engine.delivery import DeliveryService
    from gateway.settings import Settings


class Sending:
    """The node's ring, made where and when it runs: a process that is forked later must not share it."""

    def __init__(self, settings: Settings, delivery: DeliveryService, log: BoundLogger) -> None:
        """Have ``delivery`` send by it while it is ``running``.

        Raises:
            ValueError: the settings demand it, and the system refuses it.
        """
        self._wanted = settings.server.io_uring
        self._delivery = delivery
        self._log = log
        self._ring: SendRing | None = None
        if self._wanted == "required":
            self._make().close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the ring, or log why there is none.

        Raises:
            ValueError: the settings demand it, and the system refuses it.
        """
        try:
            self._ring = None if self._wanted == "off" else self._make()
        except ValueError as error:
            if self._wanted == "required":
                raise
            # Elsewhere there is nothing that anybody could change about it.
            tell = self._log.info if sys.platform == "linux" else self._log.debug
            tell("connections are written one by one", reason=str(error))
        ring = self._delivery.sender = self._ring
        try:
            yield
        finally:
            self._delivery.sender = self._ring = None
            if ring is not None:
                ring.close()

    def statistics(self) -> Mapping[str, float]:
        """Sends by it, by how much the socket took."""
        ring = self._ring
        return {"all": 0, "part": 0} if ring is None else {"all": ring.whole, "part": ring.returned}

    @staticmethod
    def _make() -> SendRing:
        try:
            return SendRing()
        except OSError as error:
            raise ValueError(f"server.io_uring: {error.strerror}") from error
