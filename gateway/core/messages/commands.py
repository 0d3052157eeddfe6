"""What a client asks for: a class per op of docs/protocol.md, "Client to gateway"; ``publish`` is a message.

Codecs make them, already strict in shape: types, bounds that need no configuration, no unknown field.
Topics and filters are still plain text here; the engine parses them against the configured limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.core.messages.publication import Publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.messages.publication import Reference


class Overflow(Enum):
    """What a subscription loses when the outbox is full (docs/protocol.md, "Overflow")."""

    SPILL = "spill"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    LATEST = "latest"
    DISCONNECT = "disconnect"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one life of a stream: ``offset`` is the last one already had (0: none)."""

    epoch: str
    offset: int


class StartKind(Enum):
    """Where a subscription begins in the streams it matches."""

    NEW = "new"
    EARLIEST = "earliest"
    OFFSET = "offset"
    TIME = "time"
    LAST = "last"
    LAST_PER_TOPIC = "last_per_topic"
    SNAPSHOT = "snapshot"


MOST_PER_TOPIC: Final = 1_000
"""The largest count of ``LAST_PER_TOPIC``."""


@dataclass(frozen=True, slots=True)
class Start:
    """``from`` of a subscribe: ``value`` is the offset, the time (ms) or the count; 0 for the others."""

    kind: StartKind
    value: int = 0


START_NEW = Start(StartKind.NEW)
START_SNAPSHOT = Start(StartKind.SNAPSHOT)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """``auth``: a credential, first or renewed."""

    token: str
    ref: Reference = None

    def __repr__(self) -> str:
        return f"Authenticate(token=***, ref={self.ref!r})"


@dataclass(frozen=True, slots=True)
class Subscribe:
    """``subscribe``; the same filter again replaces the options."""

    filter: str
    resume: Mapping[str, Position] | None = None
    start: Start = START_NEW
    overflow: Overflow = Overflow.SPILL
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """``unsubscribe``."""

    filter: str
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Consume:
    """``consume``: become a member of a consumer group; ``credit`` bounds unacknowledged deliveries.

    Without credit a member gets nothing new, and keeps what it has.
    """

    stream: str
    group: str
    filter: str | None = None
    credit: int = 32
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Release:
    """``release``: stop consuming; or, of ``deliveries``, give these back and go on."""

    stream: str
    group: str
    ref: Reference = None
    deliveries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GiveBack:
    """``release`` of a member without a socket: it has only its deliveries to give back."""

    deliveries: tuple[str, ...]
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """``ack``."""

    deliveries: tuple[str, ...]
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Reject:
    """``nack``: redeliver after ``delay`` milliseconds, or ``dead``: to the dead letters now."""

    deliveries: tuple[str, ...]
    delay: int | None = None
    dead: bool = False
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Extend:
    """``extend``: move the ack deadline by ``by`` milliseconds."""

    deliveries: tuple[str, ...]
    by: int
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Ping:
    """``ping``."""

    ref: Reference = None


Command: TypeAlias = (
    Authenticate
    | Subscribe
    | Unsubscribe
    | Publish
    | Consume
    | Release
    | Acknowledge
    | Reject
    | Extend
    | Ping
)
