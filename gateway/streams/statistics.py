"""What a store tells of itself, for people, metrics and health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.streams.configuration import Bounds


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """What one log holds and has done, for people and metrics.

    Attributes:
        bounds: epoch, first and last offset.
        bytes: what it holds, as the retention limit counts.
        first_time: milliseconds since 1970 of the oldest publication kept, or None where there is none.
        last_time: the same of the newest.
        topics: how many topics it holds something of, last values included; None where that isn't known.
        last_values: how many of them have a last value.
    """

    bounds: Bounds
    bytes: int
    first_time: int | None
    last_time: int | None
    topics: int | None = None
    last_values: int = 0


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a log something concerns.

    Attributes:
        messages: how many publications.
        bytes: of their records, as the retention limit counts.
        first: the smallest of their offsets; None where there are none.
        last: the largest.
    """

    messages: int = 0
    bytes: int = 0
    first: int | None = None
    last: int | None = None

    def __add__(self, other: Extent) -> Extent:
        """Both together."""
        offsets = [each for each in (self.first, self.last, other.first, other.last) if each is not None]
        return Extent(
            self.messages + other.messages,
            self.bytes + other.bytes,
            min(offsets, default=None),
            max(offsets, default=None),
        )


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Counts since the start, and sizes now, of this node's door to the store.

    Attributes:
        connected: appending and reading are possible.
        appended: publications kept.
        repeated: appends that an idempotency key showed to be repeats.
        failed: appends that could not be confirmed.
        commits: transactions or calls that carried the appends.
        read: publications read.
        waiting: appends not yet answered.
        waiting_bytes: of their bodies.
        epochs_raised: times that this node found a log shorter than it had seen it.
        refused: calls that a server of its own refused, or did not answer in time though it could be reached.
        purged: publications that were removed on purpose, last values beyond retention included.
        last_values_evicted: last values that went since more topics had one than may.
    """

    connected: bool = True
    appended: int = 0
    repeated: int = 0
    failed: int = 0
    commits: int = 0
    read: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    epochs_raised: int = 0
    refused: int = 0
    purged: int = 0
    last_values_evicted: int = 0
