"""What is known of a publication on its way through a group."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, NamedTuple

_FAILURES: Final = 16
"""How many of a delivery's failures are remembered one by one, the newest."""


class DeliveryState(Enum):
    """Where a publication is that isn't simply waiting."""

    DELAYED = "delayed"
    """Until it is due: by its own delay, or after a failure."""
    READY = "ready"
    LEASED = "leased"
    DEAD = "dead"
    """It keeps its key waiting, until it is sent back or discarded."""


class DeliveryFailure(NamedTuple):
    """Why a delivery failed, and when (ms since 1970)."""

    time: int
    reason: str


@dataclass(slots=True)
class TrackedDelivery:
    """What is known of one publication that was delivered, or delayed.

    Attributes:
        offset: its offset.
        share: whose turn it is taken for.
        state: where it is.
        due: when the lease runs out, or the delay ends (ms since 1970).
        attempts: deliveries that failed.
        member: who has or had it.
        fence: of the last lease; larger than that of any lease before.
        since: when the last lease began.
        failures: why the last ones failed.
    """

    offset: int
    share: str = ""
    state: DeliveryState = DeliveryState.READY
    due: int = 0
    attempts: int = 0
    member: str = ""
    fence: int = 0
    since: int = 0
    failures: list[DeliveryFailure] = field(default_factory=list)

    def copy(self) -> TrackedDelivery:
        """It as it is now, whatever becomes of it."""
        return replace(self, failures=list(self.failures))

    def begin_lease(self, member: str, fence: int, now: int, due: int) -> None:
        """``member`` has it from ``now`` until ``due``."""
        self.state = DeliveryState.LEASED
        self.member, self.fence, self.since, self.due = member, fence, now, due

    def fail(self, now: int, reason: str) -> int:
        """An attempt has failed; when the oldest failure was that is remembered."""
        self.attempts += 1
        self.failures.append(DeliveryFailure(now, reason))
        first = self.failures[0].time
        del self.failures[:-_FAILURES]
        return first


class Dead(NamedTuple):
    """A publication that nobody could handle: it goes to the dead letters."""

    offset: int
    reason: str
    attempts: int
    first_failed: int
    last_failed: int


class GroupDepth(NamedTuple):
    """How many of the publications that were offered are where; ``waiting`` may go out now."""

    waiting: int
    in_flight: int
    delayed: int
    parked: int
