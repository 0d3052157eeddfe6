"""A stream as it is configured, and what a log tells of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamConfiguration:
    """One stream, as configured.

    Attributes:
        name: unique; a letter, digit, ``.``, ``_`` or ``-`` each.
        filter: the topics whose publications it captures.
        max_messages: how many publications are kept at most.
        max_bytes: how many bytes of them are kept at most: body, topic, headers and a few more each
            (the record of codecs/record.py), without what a store spends on its own order.
        max_age: seconds that a publication is kept at most.
        dedupe_window: seconds that an idempotency key is remembered.
        last_values: each topic's newest publication is kept beyond retention.
        last_values_max_topics: how many topics' at most; those that changed longest ago go first.
        last_values_max_age: seconds that one is kept at most; 0 for any.
    """

    name: str
    filter: str
    max_messages: int = 1_000_000
    max_bytes: int = 1024**3
    max_age: float = 7 * 86400.0
    dedupe_window: float = 120.0
    last_values: bool = False
    last_values_max_topics: int = 100_000
    last_values_max_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a log holds now.

    Attributes:
        epoch: which life of the log this is; changes whenever offsets might come to mean something else.
        first: the oldest publication's offset; one more than ``last`` where there is none.
        last: the newest publication's offset; 0 before the first.
    """

    epoch: str
    first: int
    last: int
