"""Why connections end: every code, what is said with it, and whether a client should come back.

The one table for the gateway and for the client. Spec: docs/protocol.md, "Close codes".
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class CloseCode(IntEnum):
    """Why a connection ends (RFC 6455, 7.4.2 leaves 4000 to 4999 to applications).

    Attributes:
        reason: what is said where an error says nothing more precise.
        reconnect: whether the same client may fare better later.
        renew: whether a fresh credential is what it needs for that.
    """

    reason: str
    reconnect: bool
    renew: bool

    def __new__(cls, code: int, reason: str = "", reconnect: bool = True, renew: bool = False) -> Self:
        """Make a row."""
        row = int.__new__(cls, code)
        row._value_ = code
        row.reason, row.reconnect, row.renew = reason, reconnect, renew
        return row

    NORMAL = 1000, "", True
    GOING_AWAY = 1001, "the node drains", True
    PROTOCOL_ERROR = 1002, "a frame breaks the protocol", False
    BROKEN = 1006, "", True  # never on the wire: there was no close frame
    INVALID_TEXT = 1007, "text must be UTF-8", False
    POLICY_VIOLATION = 1008, "a rule for clients was broken", False
    TOO_LARGE = 1009, "a message is too large", True
    INTERNAL = 1011, "internal error", True
    RESTART = 1012, "restart", True
    BAD_FRAMES = 4400, "too many bad frames", False
    UNAUTHENTICATED = 4401, "the credential is wrong, or has run out", False, True
    BLOCKED = 4403, "disconnected by an administrator", False
    SLOW_CONSUMER = 4408, "slow consumer", True
    AUTH_TIMEOUT = 4409, "no credential in time", False, True
    TOO_MANY = 4413, "the subject has too many connections", False
    RATE = 4429, "too many commands, for too long", True
    UNAVAILABLE = 4503, "unavailable", True
