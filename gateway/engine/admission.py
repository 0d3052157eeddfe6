"""How many connections one address and one subject may have, and how fast an address may make them.

A connection asks before its handshake is answered, so that a refusal costs no upgrade. What is kept is
bounded: counts by the connections there are, rates by ``KeyedRates``.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.session.rate import KeyedRates
from gateway.errors import RateLimited, TooMany

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engine.metrics.refusals import Refusals

_BURST_SECONDS = 5


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """0 means no limit.

    Attributes:
        per_address: open connections of one client address; of IPv6 a /64 network counts as one.
        per_subject: open connections of one subject.
        connects_per_second: handshakes of one address, on average; at once it may be five times that.
    """

    per_address: int = 0
    per_subject: int = 0
    connects_per_second: float = 0.0


class ConnectionQuota:
    """What one connection takes of its address's and its subject's share, until it leaves."""

    __slots__ = ("_address", "_admission", "_subject")

    def __init__(self, admission: Admission, address: str) -> None:
        self._admission: Admission | None = admission
        self._address = address
        self._subject: str | None = None

    def identify(self, subject: str | None) -> None:
        """The connection now speaks for ``subject``; None for an anonymous one.

        Raises:
            TooMany: the subject has as many connections as it may.
        """
        if self._admission is not None and subject is not None and subject != self._subject:
            self._admission.count_subject(subject)
            self._subject = subject

    def leave(self) -> None:
        """Give the share back; idempotent."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave(self._address, self._subject)


class Admission:
    """Decides who may connect."""

    def __init__(self, limits: AdmissionLimits, refusals: Refusals, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._refusals = refusals
        self._clock = clock
        self._addresses: dict[str, int] = {}
        self._subjects: dict[str, int] = {}
        per_second = limits.connects_per_second
        self._rates: KeyedRates[str] = KeyedRates(per_second, per_second * _BURST_SECONDS)

    def enter(self, address: str) -> ConnectionQuota:
        """Take a place for a connection from ``address``; the caller must see to it that it leaves.

        Raises:
            RateLimited: the address connects too often.
            TooMany: the address has as many connections as it may.
        """
        key = address_key(address)
        limits = self._limits
        if not self._rates.allow(key, self._clock()):
            self._refusals.count("connects_per_second_per_address")
            raise RateLimited(
                f"more than {limits.connects_per_second:g} connects per second from one address"
            )
        taken = self._addresses.get(key, 0)
        if limits.per_address and taken >= limits.per_address:
            self._refusals.count("connections_per_address")
            raise TooMany(f"one address may have {limits.per_address} connections")
        self._addresses[key] = taken + 1
        return ConnectionQuota(self, key)

    def of_address(self, key: str) -> int:
        """How many places an address has taken; ``key`` is its ``address_key``."""
        return self._addresses.get(key, 0)

    def count_subject(self, subject: str) -> None:
        """Count one more connection of ``subject``; see ``ConnectionQuota.identify``."""
        limit = self._limits.per_subject
        taken = self._subjects.get(subject, 0)
        if limit and taken >= limit:
            self._refusals.count("connections_per_subject")
            raise TooMany(f"one subject may have {limit} connections")
        self._subjects[subject] = taken + 1

    def leave(self, key: str, subject: str | None) -> None:
        """See ``ConnectionQuota.leave``."""
        _decrease(self._addresses, key)
        if subject is not None:
            _decrease(self._subjects, subject)


def address_key(address: str) -> str:
    """What counts as one address: an IPv4 address, a /64 of IPv6, a text that is neither."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    # Whoever has one address of IPv6 commonly has the 2^64 of its network.
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64)) + "/64"


def _decrease(counts: dict[str, int], key: str) -> None:
    left = counts.get(key, 0) - 1
    if left > 0:
        counts[key] = left
    else:
        counts.pop(key, None)
