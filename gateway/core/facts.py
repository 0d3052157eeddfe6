"""What administrators see of a gateway's parts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """One connection, as administrators see it.

    Attributes:
        session: its name.
        subject: whom it speaks for; None while anonymous.
        peer: address and port it comes from.
        transport: ``websocket``.
        connected: milliseconds since 1970.
        subscriptions: how many it holds.
        waiting_messages: publications that wait because it takes no more.
        waiting_bytes: what waits for it in all.
    """

    session: str
    subject: str | None
    peer: str
    transport: str
    connected: int
    subscriptions: int
    waiting_messages: int
    waiting_bytes: int
