"""One record as a connection opens and one as it closes; what happens per message is a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger


class ConnectionLog:
    """The life of connections in the log."""

    def __init__(self, logger: BoundLogger) -> None:
        # Bound once: what `get_logger` gives looks for its configuration with each record.
        self._logger = logger.bind()

    def opened(self, session: str, *, transport: str, peer: str, **facts: Any) -> None:  # noqa: ANN401
        """A client has connected over ``transport`` from ``peer``."""
        self._logger.info("connection opened", session=session, transport=transport, peer=peer, **facts)

    def closed(self, session: str, *, code: int, reason: str) -> None:
        """The connection has ended with this close code; 1006 where the network ended it."""
        self._logger.info("connection closed", session=session, code=code, reason=reason)

    def failed(self, session: str, error: BaseException) -> None:
        """A defect of the gateway met this session."""
        self._logger.error("command failed", session=session, exc_info=error)
