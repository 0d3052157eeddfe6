"""One client's state machine: a command in, one effect out; it does nothing itself.

An admitted command is its own effect: the engine carries it out. A refused one becomes the ``Reply``
that says why, or the ``Close`` that ends the connection.

    UNAUTHENTICATED --admit--> AUTHENTICATED
           |                        |
           +-------- close ---------+--> CLOSED

Spec: docs/protocol.md, "Authentication", "Errors", "Close codes".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, TypeAlias

from gateway.core.commands import Authenticate, Command, Ping, Reference
from gateway.core.events import Event, Failure, Pong
from gateway.core.rate import RateLimit
from gateway.errors import BadFrame, RateLimited, Unauthenticated

if TYPE_CHECKING:
    from gateway.errors import GatewayError


class SessionState(Enum):
    """Where a session stands."""

    UNAUTHENTICATED = "unauthenticated"
    AUTHENTICATED = "authenticated"
    CLOSED = "closed"


class CloseCode(IntEnum):
    """Why a connection ends (RFC 6455, 7.4.2 leaves 4000 to 4999 to applications)."""

    GOING_AWAY = 1001
    TOO_LARGE = 1009
    INTERNAL = 1011
    RESTART = 1012
    BAD_FRAMES = 4400
    UNAUTHENTICATED = 4401
    BLOCKED = 4403
    SLOW_CONSUMER = 4408
    AUTH_TIMEOUT = 4409
    TOO_MANY = 4413
    RATE = 4429
    UNAVAILABLE = 4503


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Close:
    """Send this event, if there is one, and end the connection."""

    code: CloseCode
    reason: str
    event: Event | None = None


Effect: TypeAlias = Command | Reply | Close


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one client may do.

    Attributes:
        auth_timeout: seconds from the connection's start to a right credential.
        failed_authentications: the last wrong credential of so many closes the connection.
        bad_frames_per_minute: one more closes the connection.
        commands_per_second: on average; 0 for no limit. At once it may be five times that.
    """

    auth_timeout: float = 10.0
    failed_authentications: int = 3
    bad_frames_per_minute: int = 20
    commands_per_second: float = 1000.0


class Session:
    """What one client may do next. All times are the caller's monotonic seconds.

    Attributes:
        id: the session's name, on the wire and in logs.
        state: changed by this class alone.
        deadline: when ``expire`` has something to say, or None.
    """

    __slots__ = ("_bad_frames", "_failed", "_limits", "_minute", "_rate", "deadline", "id", "state")

    def __init__(
        self,
        id: str,  # noqa: A002 - the wire's word
        limits: SessionLimits,
        *,
        authenticated: bool,
        now: float,
    ) -> None:
        self.id = id
        self.state = SessionState.AUTHENTICATED if authenticated else SessionState.UNAUTHENTICATED
        self.deadline = None if authenticated else now + limits.auth_timeout
        self._limits = limits
        # Made with the first command: a session that only listens never needs it.
        self._rate: RateLimit | None = None
        self._failed = 0
        self._bad_frames = 0
        self._minute = now

    def receive(self, command: Command, now: float) -> Effect:
        """Decide what becomes of a decoded command."""
        if self._limits.commands_per_second and not self._in_rate(now):
            return self._too_fast(command.ref)
        if type(command) is Ping:
            return Reply(Pong(ref=command.ref))
        if self.state is SessionState.AUTHENTICATED or type(command) is Authenticate:
            return command
        return refusal(Unauthenticated("authenticate first"), command.ref)

    def refuse(self, error: GatewayError, ref: Reference, now: float) -> Reply | Close:
        """Decide what a frame that no codec could decode leads to."""
        if not self._in_rate(now):
            return self._too_fast(ref)
        if isinstance(error, BadFrame):
            if now - self._minute >= 60:
                self._minute = now
                self._bad_frames = 0
            self._bad_frames += 1
            if self._bad_frames > self._limits.bad_frames_per_minute:
                return self._fatal(error, ref, CloseCode.BAD_FRAMES)
        return refusal(error, ref)

    def admit(self) -> None:
        """A credential was right."""
        if self.state is SessionState.UNAUTHENTICATED:
            self.state = SessionState.AUTHENTICATED
        self.deadline = None

    def deny(self, error: GatewayError, ref: Reference) -> Reply | Close:
        """A credential was wrong."""
        self._failed += 1
        if self._failed >= self._limits.failed_authentications:
            return self._fatal(error, ref, CloseCode.UNAUTHENTICATED)
        return refusal(error, ref)

    def expire(self, now: float) -> Close | None:
        """What the passing of time leads to; to be asked at ``deadline``."""
        if self.deadline is None or now < self.deadline or self.state is SessionState.CLOSED:
            return None
        return self._fatal(Unauthenticated("no credential in time"), None, CloseCode.AUTH_TIMEOUT)

    def close(self) -> None:
        """The connection has ended."""
        self.state = SessionState.CLOSED
        self.deadline = None

    def _in_rate(self, now: float) -> bool:
        rate = self._rate
        if rate is None:
            per_second = self._limits.commands_per_second
            rate = self._rate = RateLimit(per_second, per_second * 5, now=now)
        return rate.allow(now)

    def _too_fast(self, ref: Reference) -> Reply:
        limit = self._limits.commands_per_second
        return refusal(RateLimited(f"more than {limit:g} commands per second"), ref)

    def _fatal(self, error: GatewayError, ref: Reference, code: CloseCode) -> Close:
        self.close()
        return Close(code, str(error), failure(error, ref, fatal=True))


def failure(error: GatewayError, ref: Reference, *, fatal: bool = False) -> Failure:
    """The ``error`` event that tells ``error``."""
    return Failure(error.code, str(error), fatal=fatal, ref=ref)


def refusal(error: GatewayError, ref: Reference) -> Reply:
    """Refuse one command; the session goes on."""
    return Reply(failure(error, ref))
