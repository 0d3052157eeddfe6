"""What a store of this node may hold in memory, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import StoreFull


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of the stores that this process owns by itself.

    Attributes:
        waiting_messages: appends that may wait to be kept; more are refused with ``RateLimited``.
        waiting_bytes: of their records.
        transaction_messages: appends that one transaction takes at most; all of them are answered in one
            turn of the event loop.
        transaction_bytes: of their records.
        timeout: seconds after which an append or a read that is not done fails with ``StreamUnavailable``.
        recent_messages: the newest publications of each stream that are kept at hand for readers.
        recent_bytes: of their records.
        dedupe_keys: idempotency keys that a stream remembers at most, of one publisher as many as are still
            free; one more is refused with ``RateLimited`` until the oldest has left the dedupe window.
        sweep_seconds: how often what is too old is let go where nobody appends.
        topics_per_read: how many topics one read finds by the index at most.
    """

    waiting_messages: int = 32768
    waiting_bytes: int = 32 * 1024 * 1024
    transaction_messages: int = 1024
    transaction_bytes: int = 4 * 1024 * 1024
    timeout: float = 1.5
    recent_messages: int = 4096
    recent_bytes: int = 4 * 1024 * 1024
    dedupe_keys: int = 5_000_000
    sweep_seconds: float = 1.0
    topics_per_read: int = 10_000


@dataclass(frozen=True, slots=True)
class RedisStoreLimits:
    """Bounds of this node's door to the store.

    Attributes:
        timeout: seconds that an append, a read or a connection waits for Redis.
        waiting_messages: appends not yet answered.
        waiting_bytes: of their records.
        beat: seconds between two heartbeats of a connection that has nothing to do.
        silence: seconds without any word from Redis after which listening counts as interrupted.
        backoff: the longest wait between two attempts to connect, in seconds.
        replicas: how many replicas must have an append before it is answered; 0 leaves it to Redis.
        tidy: how often, at most, a stream that nobody appends to is looked through for what is too old.
        look: how often a stream is looked at, though nobody reads it, so that it is known whether one could.
        topics_per_read: how many topics one read finds by the index at most.
    """

    timeout: float = 1.5
    waiting_messages: int = 32768
    waiting_bytes: int = 32 * 1024 * 1024
    beat: float = 1.0
    silence: float = 3.0
    backoff: float = 2.0
    replicas: int = 0
    tidy: float = 1.0
    look: float = 5.0
    topics_per_read: int = 10_000


def full(stream: str) -> StoreFull:
    """The refusal of a publication for which retention may let nothing go."""
    return StoreFull(
        f"stream {stream!r} is full of what a group that keeps what isn't acknowledged has yet to finish"
    )
