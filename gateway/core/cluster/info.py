"""What administrators see of a gateway's parts."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    session: str
    subject: str | None
    peer: str
    transport: str
    connected: int
    subscriptions: int
    waiting_messages: int
    waiting_bytes: int


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
