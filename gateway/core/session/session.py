"""One client's state machine: a command in, one effect out; it does nothing itself.

An admitted command is its own effect: the engine carries it out. A refused one becomes the ``Reply``
that says why, or the ``Close`` that ends the connection.

    UNAUTHENTICATED --admit--> AUTHENTICATED --deadline--> EXPIRED
           |                     |    ^                     |  |
           |                     |    +-------- admit ------+  |
           +------ deadline -----+------------- deadline ------+--> CLOSED

``leave`` leads from each of them to LEAVING: what was begun is finished, and nothing new begins.

Spec: docs/protocol.md, "Authentication", "Errors", "Close codes".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.core.messages.commands import Authenticate, Command, Ping
from gateway.core.messages.events import Event, Failure, Pong
from gateway.core.session.close_codes import CloseCode
from gateway.core.session.rate import Rates, Throttle, Verdict
from gateway.errors import (
    BadFrame,
    RateLimited,
    SubjectBlocked,
    TokenExpired,
    TooMany,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    from gateway.core.messages.publication import Reference
    from gateway.errors import GatewayError


class SessionState(Enum):
    """Where a session stands."""

    UNAUTHENTICATED = "unauthenticated"
    AUTHENTICATED = "authenticated"
    EXPIRED = "expired"
    LEAVING = "leaving"
    CLOSED = "closed"


_AUTHENTICATED: Final = SessionState.AUTHENTICATED
"""Asked for with every command: to find a member by its name takes the interpreter longer than a call."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this event; ``limit`` names the setting that a refusal comes from, for its metric."""

    event: Event
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """Send this event, if there is one, and end the connection."""

    code: CloseCode
    reason: str
    event: Event | None = None
    limit: str | None = None


Effect: TypeAlias = Command | Reply | Close


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one client may do.

    Attributes:
        auth_timeout: seconds from the connection's start to a right credential.
        expiry_leeway: seconds that a credential counts beyond its end, for clocks that differ.
        expiry_grace: seconds from then on to renew it; deliveries go on.
        failed_authentications: the last wrong credential of so many in a row closes the connection.
        bad_frames_per_minute: one more closes the connection.
        rates: what it may send per second.
    """

    auth_timeout: float = 10.0
    expiry_leeway: float = 5.0
    expiry_grace: float = 10.0
    failed_authentications: int = 3
    bad_frames_per_minute: int = 20
    rates: Rates = field(default_factory=Rates)


class Session:
    """What one client may do next. All times are the caller's monotonic seconds.

    Attributes:
        id: the session's name, on the wire and in logs.
        state: changed by this class alone.
        deadline: when ``expire`` has something to say, or None.
    """

    __slots__ = (
        "_bad_frames",
        "_failed",
        "_limits",
        "_minute",
        "_throttle",
        "_undecided",
        "deadline",
        "id",
        "state",
    )

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
        self._throttle: Throttle | None = None
        self._failed = 0
        self._undecided = False
        self._bad_frames = 0
        self._minute = now

    def admits_plain_publish(self, now: float) -> bool:
        """Whether a publish may pass, which then counts as received.

        False: nothing is counted yet, and ``receive`` is to be asked.
        """
        if self.state is not _AUTHENTICATED:
            return False
        rates = self._limits.rates
        return not rates.limited or (self._throttle or self._begin(now)).admits_plain_publish(now)

    def receive(self, command: Command, now: float) -> Effect:
        """Decide what becomes of a decoded command."""
        rates = self._limits.rates
        if rates.limited:
            throttle = self._throttle or self._begin(now)
            if (verdict := throttle.judge(command, now, rates)) is not None:
                return self._too_fast(verdict, command.ref)
        if type(command) is Ping:
            return Reply(Pong(ref=command.ref))
        if self.state is _AUTHENTICATED:
            return command
        return self._receive_unready(command)

    def _receive_unready(self, command: Command) -> Effect:
        if self.state is SessionState.LEAVING:
            return refusal(Unavailable("the node drains: reconnect, and say it again"), command.ref)
        if type(command) is Authenticate:
            return command
        if self.state is SessionState.EXPIRED:
            return refusal(TokenExpired("the credential has run out: renew it with auth"), command.ref)
        return refusal(Unauthenticated("authenticate first"), command.ref)

    def uncount(self) -> None:
        """A command that was received does not count against the rate, as turns out."""
        if self._throttle is not None:
            self._throttle.uncount()

    def refuse(self, error: GatewayError, ref: Reference, now: float) -> Reply | Close:
        """Decide what a frame that no codec could decode leads to."""
        throttle = self._throttle or self._begin(now)
        if (verdict := throttle.judge(None, now, self._limits.rates)) is not None:
            return self._too_fast(verdict, ref)
        if isinstance(error, BadFrame):
            if now - self._minute >= 60:
                self._minute = now
                self._bad_frames = 0
            self._bad_frames += 1
            if self._bad_frames > self._limits.bad_frames_per_minute:
                return self._fatal(error, ref, CloseCode.BAD_FRAMES)
        return refusal(error, ref)

    def admit(self, now: float, *, remaining: float | None = None) -> None:
        """A credential was right, or right again.

        Args:
            now: the time.
            remaining: seconds until it runs out, leeway not counted; None for one that never does.
        """
        # It was checked elsewhere and took its time: what has begun to end meanwhile goes on to end.
        if self.state is SessionState.LEAVING or self.state is SessionState.CLOSED:
            return
        self.state = SessionState.AUTHENTICATED
        self._failed = 0
        self._undecided = False
        self.deadline = None if remaining is None else now + remaining + self._limits.expiry_leeway

    def deny(self, error: GatewayError, ref: Reference) -> Reply | Close:
        """A credential was wrong, or is right and still may not be used here."""
        if isinstance(error, SubjectBlocked):
            return self._fatal(error, ref, CloseCode.BLOCKED)
        if isinstance(error, TooMany):
            return self._fatal(error, ref, CloseCode.TOO_MANY)
        # What could not be told is not the client's fault: it counts for no wrong credential.
        self._undecided = error.retry
        if not error.retry:
            self._failed += 1
        if self._failed >= self._limits.failed_authentications:
            return self._fatal(error, ref, CloseCode.UNAUTHENTICATED)
        return refusal(error, ref)

    def expire(self, now: float) -> Reply | Close | None:
        """What the passing of time leads to; to be asked at ``deadline``."""
        if self.deadline is None or now < self.deadline:
            return None
        if self._undecided and self.state is not SessionState.AUTHENTICATED:
            # Our fault: with a code that blames the credential the client would stay away for good.
            unknown = Unavailable("whether the credential is right could not be told in time")
            return self._fatal(unknown, None, CloseCode.UNAVAILABLE)
        if self.state is SessionState.UNAUTHENTICATED:
            error = Unauthenticated("no credential in time")
            return self._fatal(error, None, CloseCode.AUTH_TIMEOUT, limit="auth_timeout")
        expired = TokenExpired("the credential has run out")
        if self.state is SessionState.EXPIRED:
            return self._fatal(expired, None, CloseCode.UNAUTHENTICATED)
        self.state = SessionState.EXPIRED
        self.deadline = now + self._limits.expiry_grace
        return refusal(expired, None)

    def leave(self) -> None:
        """The node drains."""
        if self.state is not SessionState.CLOSED:
            self.state = SessionState.LEAVING
            self.deadline = None

    def close(self) -> None:
        """The connection has ended."""
        self.state = SessionState.CLOSED
        self.deadline = None

    def _begin(self, now: float) -> Throttle:
        self._throttle = Throttle(self._limits.rates, now=now)
        return self._throttle

    def _too_fast(self, verdict: Verdict, ref: Reference) -> Reply | Close:
        rates = self._limits.rates
        if verdict is Verdict.FLOOD:
            error = RateLimited(f"more than {rates.commands:g} commands per second, for too long")
            return self._fatal(error, ref, CloseCode.RATE, limit=Verdict.COMMANDS.value)
        text = {
            Verdict.COMMANDS: f"more than {rates.commands:g} commands per second",
            Verdict.PUBLISHES: f"more than {rates.publishes:g} publishes per second",
            Verdict.PUBLISH_BYTES: f"more than {rates.publish_bytes:g} published bytes per second",
        }[verdict]
        return Reply(failure(RateLimited(text), ref), verdict.value)

    def _fatal(
        self, error: GatewayError, ref: Reference, code: CloseCode, *, limit: str | None = None
    ) -> Close:
        self.close()
        return Close(code, error.told, failure(error, ref, fatal=True), limit)


def failure(error: GatewayError, ref: Reference, *, fatal: bool = False) -> Failure:
    """The ``error`` event that tells ``error``."""
    return Failure(error.code, error.told, fatal=fatal, ref=ref)


def refusal(error: GatewayError, ref: Reference) -> Reply:
    """Refuse one command; the session goes on."""
    return Reply(failure(error, ref))
