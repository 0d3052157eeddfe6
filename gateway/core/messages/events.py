"""What the gateway tells a client, publications aside: docs/protocol.md, "Gateway to client"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication, Reference


@dataclass(frozen=True, slots=True)
class Welcome:
    """The first frame of every connection; ``limits`` are those a client may want to know."""

    session: str
    node: str
    authenticated: bool
    limits: Mapping[str, int]
    protocol: str = "gateway.v1"


@dataclass(frozen=True, slots=True)
class Authenticated:
    """``expires``: milliseconds since 1970, or None."""

    subject: str | None
    expires: int | None
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """``positions``: the last offset before what this subscription will get; ``recovered``: of ``resume``."""

    filter: str
    positions: Mapping[str, Position] = field(default_factory=dict)
    recovered: bool | None = None
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """A subscription that asked for history has it all and is live."""

    filter: str


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """Reply to ``unsubscribe``."""

    filter: str
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Published:
    """Reply to ``publish``; ``stream`` and ``offset`` where it was stored."""

    id: str
    stream: str | None = None
    offset: int | None = None
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Consuming:
    """Reply to ``consume``; ``ack_wait``: how long a lease of the group lasts, in milliseconds."""

    stream: str
    group: str
    credit: int
    ack_wait: int
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Released:
    """Reply to ``release``."""

    stream: str
    group: str
    ref: Reference = None


class Delivery(NamedTuple):
    """A publication for one member of a group; ``deadline`` is in milliseconds since 1970."""

    publication: Publication
    token: str
    group: str
    attempt: int
    deadline: int
    fence: int


@dataclass(frozen=True, slots=True)
class Acked:
    """Reply to ``ack``, ``nack`` and ``extend``; ``stale``: tokens whose lease had run out."""

    deliveries: tuple[str, ...]
    stale: tuple[str, ...]
    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Pong:
    """Reply to ``ping``."""

    ref: Reference = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Publications this client will not get, or may not have got.

    ``first`` and ``last``: the offsets that are missing, inclusive; ``epoch``: the stream's new one, and
    ``offset`` the last one in it before what comes next.
    """

    reason: str
    filter: str | None = None
    dropped: int | None = None
    stream: str | None = None
    first: int | None = None
    last: int | None = None
    epoch: str | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class GoAway:
    """The node drains; reconnect after ``retry_after`` milliseconds."""

    reason: str
    retry_after: int


@dataclass(frozen=True, slots=True)
class Failure:
    """``error``: a refused command, or with ``fatal`` the reason of the close that follows."""

    code: str
    reason: str
    fatal: bool = False
    ref: Reference = None


Event: TypeAlias = (
    Welcome
    | Authenticated
    | Subscribed
    | CaughtUp
    | Unsubscribed
    | Published
    | Consuming
    | Released
    | Delivery
    | Acked
    | Pong
    | Gap
    | GoAway
    | Failure
)
