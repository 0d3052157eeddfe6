"""What one connection may send per second: commands, publications, and their bytes.

Made with a connection's first command: one that only listens never needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from gateway.core.messages.commands import Publish
from gateway.core.session.rate import RateLimit

if TYPE_CHECKING:
    from gateway.core.messages.commands import Command

_BURST_SECONDS = 5
_REFUSED_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Rates:
    """Averages per second; at once it may be five times that. 0 means no limit.

    Attributes:
        commands: every command, undecodable ones too.
        publishes: ``publish`` commands.
        publish_bytes: their bodies; one body may always be as large as a message may be.
        limited: whether there is any limit.
    """

    commands: float = 1000.0
    publishes: float = 0.0
    publish_bytes: float = 0.0
    limited: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limited", bool(self.commands or self.publishes or self.publish_bytes))


class Verdict(Enum):
    """Why a command is refused; the value is the setting behind it."""

    COMMANDS = "commands_per_second"
    PUBLISHES = "publishes_per_second"
    PUBLISH_BYTES = "publish_bytes_per_second"
    FLOOD = "flood"  # ten minutes' worth of commands was refused: the client doesn't listen


class Throttle:
    """One connection's token buckets; all times are the caller's monotonic seconds."""

    __slots__ = ("_bytes", "_commands", "_publishes", "_refusals")

    def __init__(self, rates: Rates, *, now: float) -> None:
        self._commands = _bucket(rates.commands, now)
        self._publishes = _bucket(rates.publishes, now)
        self._bytes = _bucket(rates.publish_bytes, now)
        self._refusals: RateLimit | None = None

    def judge(self, command: Command | None, now: float, rates: Rates) -> Verdict | None:
        """Count ``command``, where None stands for one that could not be decoded; None admits it."""
        if self._commands is not None and not self._commands.allow(now):
            return self._refuse(now, rates)
        if type(command) is Publish:
            if self._publishes is not None and not self._publishes.allow(now):
                return Verdict.PUBLISHES
            if self._bytes is not None and not self._bytes.allow(now, _size(command)):
                return Verdict.PUBLISH_BYTES
        return None

    def _refuse(self, now: float, rates: Rates) -> Verdict:
        if self._refusals is None:
            self._refusals = RateLimit(rates.commands, rates.commands * _REFUSED_SECONDS, now=now)
        return Verdict.COMMANDS if self._refusals.allow(now) else Verdict.FLOOD


def _bucket(per_second: float, now: float) -> RateLimit | None:
    return RateLimit(per_second, per_second * _BURST_SECONDS, now=now) if per_second else None


def _size(command: Publish) -> int:
    body = command.data if command.data is not None else command.binary
    return len(body) if body is not None else 0
