"""What administrators see of a gateway's parts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One connection, as administrators see it.

    Attributes:
        session: its name.
        subject: whom it speaks for; None while anonymous.
        peer: address and port it comes from.
        transport: ``websocket``, ``sse`` for server-sent events, ``http`` for a request that lasts,
            ``in_process`` for an application around the node.
        connected: milliseconds since 1970.
        subscriptions: how many it holds.
        waiting_messages: publications that wait because it takes no more.
        waiting_bytes: what waits for it in all.
        fill: how full its outbox is, 0 to 1 and beyond, the fuller of messages and bytes.
        blocked_ms: how long it has taken nothing; None: it takes.
    """

    session: str
    subject: str | None
    peer: str
    transport: str
    connected: int
    subscriptions: int
    waiting_messages: int
    waiting_bytes: int
    fill: float = 0.0
    blocked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """One subscription of a connection.

    Attributes:
        filter: its topic filter.
        overflow: its policy.
        state: ``waiting``, ``reading``, ``live``, or ``spilled``: live, and reading on from streams.
        streams: those of which it may match something.
        dropped: publications lost that its client hasn't been told of yet.
        positions: by stream, epoch and offset up to which it has been given what matches.
    """

    filter: str
    overflow: str
    state: str
    streams: tuple[str, ...] = ()
    dropped: int = 0
    positions: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectionDetails:
    """What there is to know of one connection.

    Attributes:
        connection: as it is listed.
        filters: its subscriptions by filter, the first of them.
        positions: by stream, epoch and offset up to which it has what it reads on from.
        grants: filters by what they allow, the first of each.
        admin: it has the grant ``admin``.
        expires: when its credential runs out, milliseconds since 1970.
    """

    connection: ConnectionInfo
    filters: tuple[SubscriptionInfo, ...] = ()
    positions: dict[str, tuple[str, int]] = field(default_factory=dict)
    grants: dict[str, tuple[str, ...]] = field(default_factory=dict)
    admin: bool = False
    expires: int | None = None


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node, as it tells of itself.

    Attributes:
        node: its name, new with each start.
        name: of the host or container it runs on.
        version: of the gateway.
        started: milliseconds since 1970, by its own clock.
        connections: open ones.
        subscriptions: of all its connections.
        streams: the digest of what its streams capture; empty from nodes that tell none.
        both_ways: what they capture it publishes live as well, since not all nodes capture the same.
        partitions: into how many it divides live topics; 0 from nodes that don't tell.
        status: ``ready``, ``degraded`` and so on, as readiness has it; None from nodes that don't tell.
        reasons: why it is less than well, in words.
        away: parts outside it that are away.
        lag_ms: how late its event loop was last.
        memory_bytes: of its process; None where the system doesn't tell.
    """

    node: str
    name: str
    version: str
    started: int
    connections: int
    subscriptions: int
    streams: str = ""
    both_ways: bool = False
    partitions: int = 0
    status: str | None = None
    reasons: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    lag_ms: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """What became of one webhook delivery.

    Attributes:
        number: counts the hook's deliveries on its node since that began, from 1.
        time: when it was answered, milliseconds since 1970.
        verdict: ``published``, ``refused`` and so on.
        address: where it came from.
        size: bytes of its body.
        delivery_id: what its sender calls it; unverified where it was refused.
        topic: where it was published.
        reason: why it was refused, of a fixed set.
        detail: the same for people.
        id: the message's.
        stream: that keeps it.
        offset: its number there.
    """

    number: int
    time: int
    verdict: str
    address: str
    size: int
    delivery_id: str | None = None
    topic: str | None = None
    reason: str | None = None
    detail: str | None = None
    id: str | None = None
    stream: str | None = None
    offset: int | None = None
