"""How much of a node's time, memory and patience a WebSocket client gets below the session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """Bounds of one connection.

    Attributes:
        close_seconds: how long a closed connection waits for its peer, and for its buffer, before its abort.
        message_seconds: how long a client may take from the first byte of a message or frame to the last.
        controls_per_second: pings and pongs that a client may send on average; more is closed with 1008,
            0 is no limit.
        control_burst: how many of them at once.
        fragments: see ``FrameLimits``.
    """

    close_seconds: float = 10.0
    message_seconds: float = 30.0
    controls_per_second: float = 100.0
    control_burst: float = 500.0
    fragments: int = 1024
