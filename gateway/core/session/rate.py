"""How often something may happen: token buckets that are told the time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")


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
        tokens = min(self._burst, self._tokens + (now - self._last) * self._per_second)
        self._last = now
        if tokens < cost and tokens < self._burst:
            self._tokens = tokens
            return False
        self._tokens = tokens - cost
        return True

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
