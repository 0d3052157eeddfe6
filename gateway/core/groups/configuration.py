"""What a group of consumers is configured to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.core.messages.commands import START_NEW, Start, StartKind

FAIR_BY_KEY: Final = "key"

MOST_GROUPS: Final = 256
"""How many groups a stream has at most: each costs what it knows of its stream, and a row of metrics."""

_NUMBERED: Final = re.compile(r"(time:)?([0-9]{1,16})", re.ASCII)
_LARGEST: Final = 2**53 - 1


def parse_group_start(text: str) -> Start:
    """Where a group begins when it is made: ``new``, ``earliest``, ``<offset>``, ``time:<ms>``.

    Raises:
        ValueError: none of them, or a number out of range.
    """
    if text in {"new", "earliest"}:
        return Start(StartKind(text))
    match = _NUMBERED.fullmatch(text)
    if match is not None:
        kind, value = StartKind.TIME if match[1] else StartKind.OFFSET, int(match[2])
        if (0 if match[1] else 1) <= value <= _LARGEST:
            return Start(kind, value)
    raise ValueError(
        f"{text[:64]!r}: a group starts with 'new', 'earliest', an offset from 1, or 'time:<ms>'"
    )


def group_start_text(start: Start) -> str:
    """What ``parse_group_start`` reads as ``start``."""
    if start.kind is StartKind.TIME:
        return f"time:{start.value}"
    return str(start.value) if start.kind is StartKind.OFFSET else start.kind.value


@dataclass(frozen=True, slots=True)
class GroupConfiguration:
    """One group of a stream, as configured (docs/queues.md).

    Attributes:
        name: unique within its stream; a letter, digit, ``.``, ``_`` or ``-`` each.
        filter: which of the stream's topics it works off; a parsed filter.
        start: where it begins when it is made.
        ack_wait: seconds that a member has to acknowledge a delivery, or to extend its lease.
        max_deliver: after how many failed deliveries a publication is a dead letter; 0: never.
        backoff: seconds before the next delivery, after the first failed one, the second, and so on; the last
            one is for all that follow.
        max_in_flight: deliveries that may be unacknowledged at once, all members together.
        ordered_by_key: publications with one key go out one at a time, in order.
        hold_on_dead: with ``ordered_by_key``: a dead letter keeps its key waiting until it is sent back or
            discarded.
        fair_by: members get publications of these in turn: empty for none, ``key``, or ``level:N``.
        keep_unacked: retention leaves what the group hasn't finished.
        dead_max_messages: how many dead letters are kept at most; the oldest go first.
        dead_max_age: seconds that one is kept at most.
        paused: an administrator has members get nothing more until that is taken back.
    """

    name: str
    filter: str = "#"
    start: Start = START_NEW
    ack_wait: float = 30.0
    max_deliver: int = 5
    backoff: tuple[float, ...] = (1.0, 10.0, 60.0)
    max_in_flight: int = 10_000
    ordered_by_key: bool = False
    hold_on_dead: bool = False
    fair_by: str = ""
    keep_unacked: bool = False
    dead_max_messages: int = 100_000
    dead_max_age: float = 14 * 86400.0
    paused: bool = False

    @property
    def most_in_flight(self) -> int:
        """Deliveries that may be unacknowledged at once as it stands: none begin while it is paused."""
        return 0 if self.paused else self.max_in_flight

    def wait_after(self, failures: int) -> int:
        """Milliseconds until the next delivery, after so many failed ones (from 1)."""
        if not self.backoff:
            return 0
        return round(self.backoff[min(failures, len(self.backoff)) - 1] * 1000)

    def share_of(self, topic: str, key: str | None) -> str:
        """Whose turn a publication is taken for: the same text for those that wait for each other."""
        if not self.fair_by:
            return ""
        if self.fair_by == FAIR_BY_KEY:
            return key or ""
        level = int(self.fair_by.removeprefix("level:"))
        return topic.split("/", level)[level - 1 : level][-1] if topic.count("/") >= level - 1 else ""
