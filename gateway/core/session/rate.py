"""How often something may happen: token buckets that are told the time, also those of one connection."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.core.messages.publication import Publish

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.core.messages.commands import Command

K = TypeVar("K", bound="Hashable")

_BURST_SECONDS = 5
_REFUSED_SECONDS = 600


class RateLimit:
    """``per_second`` on average, ``burst`` at once; 0 per second means no limit."""

    __slots__ = ("_burst", "_last", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float, *, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._last = now

    def allow(self, now: float, cost: float = 1.0) -> bool:
        """Take ``cost`` tokens if they are there.

        What costs more than the burst passes when the bucket is full, and leaves a debt: refused, it could
        never pass.
        """
        if not self._per_second:
            return True
        tokens, burst = self._tokens + (now - self._last) * self._per_second, self._burst
        if tokens > burst:  # noqa: PLR1730 - a call of min() takes as long as all the rest
            tokens = burst
        self._last = now
        if tokens < cost and tokens < burst:
            self._tokens = tokens
            return False
        self._tokens = tokens - cost
        return True

    def give_back(self) -> None:
        """A token that was taken isn't needed; there are never more of them than at first."""
        self._tokens += 1.0

    def wait(self, now: float) -> float:
        """Seconds until one token is there; 0 where one is now."""
        if not self._per_second:
            return 0.0
        return max(0.0, (1.0 - self._tokens) / self._per_second - (now - self._last))


class KeyedRates(Generic[K]):
    """One ``RateLimit`` per key, for as many keys as were seen last.

    Bounded, since addresses and subjects are the clients' to choose: the key seen longest ago is forgotten,
    and has its whole burst again when it comes back.
    """

    def __init__(self, per_second: float, burst: float, *, keys: int = 10_000) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = keys
        self._rates: OrderedDict[K, RateLimit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rates)

    def allow(self, key: K, now: float) -> bool:
        """Take one of ``key``'s tokens if there is one."""
        if not self._per_second:
            return True
        rate = self._rates.get(key)
        if rate is None:
            if len(self._rates) >= self._most:
                self._rates.popitem(last=False)
            rate = self._rates[key] = RateLimit(self._per_second, self._burst, now=now)
        else:
            self._rates.move_to_end(key)
        return rate.allow(now)


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
    """One connection's token buckets; all times are the caller's monotonic seconds.

    Made with its first command: one that only listens never needs it.
    """

    __slots__ = ("_bytes", "_commands", "_publishes", "_refusals")

    def __init__(self, rates: Rates, *, now: float) -> None:
        self._commands = _bucket(rates.commands, now)
        self._publishes = _bucket(rates.publishes, now)
        self._bytes = _bucket(rates.publish_bytes, now)
        self._refusals: RateLimit | None = None

    def admits_plain_publish(self, now: float) -> bool:
        """Count a publish where its number is all that is limited; False: nothing is counted."""
        commands = self._commands
        return (
            commands is not None and self._publishes is None and self._bytes is None and commands.allow(now)
        )

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

    def uncount(self) -> None:
        """A command that was admitted does not count."""
        if self._commands is not None:
            self._commands.give_back()

    def _refuse(self, now: float, rates: Rates) -> Verdict:
        if self._refusals is None:
            self._refusals = RateLimit(rates.commands, rates.commands * _REFUSED_SECONDS, now=now)
        return Verdict.COMMANDS if self._refusals.allow(now) else Verdict.FLOOD


def _bucket(per_second: float, now: float) -> RateLimit | None:
    return RateLimit(per_second, per_second * _BURST_SECONDS, now=now) if per_second else None


def _size(command: Publish) -> int:
    body = command.data if command.data is not None else command.binary
    return len(body) if body is not None else 0
