"""What became of each hook's last deliveries, for the operator alone.

Kept in memory, counted, and, where something was wrong, logged: a record names the hook, the reason, the
sender's address and what the sender calls the delivery, and never holds anything of the body or a secret.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.session.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.engine.publishing import Receipt

KEPT: Final = 100
"""Deliveries of a hook that are kept."""

PUBLISHED: Final = "published"
REPEATED: Final = "repeated"
IGNORED: Final = "ignored"
ANSWERED: Final = "answered"
REFUSED: Final = "refused"
REPLAYED: Final = "replayed"

_LOGGED_SECONDS: Final = 5.0
_LOGGED_AT_ONCE: Final = 5
_LONGEST_TEXT: Final = 200

_log: Final = logging.getLogger("gateway.http_api.webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """What became of one delivery.

    Attributes:
        number: counts the hook's deliveries since the start, from 1.
        time: when it was answered, milliseconds since 1970.
        verdict: one of the words above.
        address: where it came from.
        size: bytes of its body.
        name: what its sender calls it; unverified where it was refused.
        topic: where it was published.
        reason: why it was refused, of a fixed set.
        detail: the same for people.
        receipt: what publishing gave.
    """

    number: int
    time: int
    verdict: str
    address: str
    size: int
    name: str | None = None
    topic: str | None = None
    reason: str = ""
    detail: str = ""
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What there is to say of a delivery that has its answer; see ``DeliveryRecord``."""

    verdict: str
    address: str
    size: int
    name: str | None = None
    topic: str | None = None
    reason: str = ""
    detail: str = ""
    receipt: Receipt | None = None


class DeliveryJournal:
    """The records of all hooks, and their counts."""

    def __init__(
        self,
        hooks: Iterable[str],
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_clock = wall_clock
        self._clock = clock
        self._records: dict[str, deque[DeliveryRecord]] = {name: deque(maxlen=KEPT) for name in hooks}
        self._numbers: Counter[str] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._logging = {
            name: RateLimit(1 / _LOGGED_SECONDS, _LOGGED_AT_ONCE, now=clock()) for name in self._records
        }
        self._unlogged: Counter[str] = Counter()

    def add(self, hook: str, outcome: Outcome) -> None:
        """Keep what became of a delivery; a refusal is counted, and logged unless there are too many."""
        self._numbers[hook] += 1
        record = DeliveryRecord(
            number=self._numbers[hook],
            time=int(self._wall_clock() * 1000),
            verdict=outcome.verdict,
            address=outcome.address,
            size=outcome.size,
            name=None if outcome.name is None else outcome.name[:_LONGEST_TEXT],
            topic=None if outcome.topic is None else outcome.topic[: 2 * _LONGEST_TEXT],
            reason=outcome.reason,
            detail=outcome.detail[:_LONGEST_TEXT],
            receipt=outcome.receipt,
        )
        self._records[hook].append(record)
        if outcome.verdict == REFUSED:
            self._refused[hook, outcome.reason] += 1
            self._tell(hook, record)

    def records(self, hook: str) -> list[DeliveryRecord]:
        """The last deliveries of a hook, the newest first."""
        return list(reversed(self._records[hook]))

    def refused(self) -> Mapping[tuple[str, str], int]:
        """Refusals since the start, by hook and reason."""
        return dict(self._refused)

    def _tell(self, hook: str, record: DeliveryRecord) -> None:
        if not self._logging[hook].allow(self._clock()):
            self._unlogged[hook] += 1
            return
        _log.warning(
            "hook %s refused a delivery from %s: %s (%s), id %r%s",
            hook,
            record.address,
            record.reason,
            record.detail,
            record.name,
            f"; {self._unlogged.pop(hook)} more were not logged" if self._unlogged[hook] else "",
        )
