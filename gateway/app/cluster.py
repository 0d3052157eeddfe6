"""Makes the node one of many: who it is, how it hears the others, and how administration reaches them."""

from __future__ import annotations

import socket
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from gateway.app.resident_memory import resident_bytes
from gateway.codecs.control_v1 import ControlV1
from gateway.core.cluster.control import LONGEST_HOST
from gateway.core.cluster.info import NodeInfo
from gateway.core.cluster.membership import Membership
from gateway.engine.administration import Administration
from gateway.engine.cluster.administration import ClusterAdministration
from gateway.engine.cluster.control_link import ControlLink
from gateway.engine.cluster.node import Cluster
from gateway.engine.cluster.peers import NoPeers

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.bus.base import Bus
    from gateway.core.cluster.block_list import BlockList
    from gateway.core.cluster.control import ForgetStream
    from gateway.core.cluster.stream_agreement import StreamAgreement
    from gateway.core.fanout.hub import Hub
    from gateway.core.messages.publication import Publication
    from gateway.engine.cluster.captured_live import CapturedLive
    from gateway.engine.cluster.partition_difference import PartitionDifference
    from gateway.engine.sessions import Sessions
    from gateway.observability.health import Health


_MOST_TOLD = 64
"""Reasons, and parts that are away: each node tells them with every heartbeat."""

_LONGEST_REASON = 256


def facts_of(
    node: str,
    *,
    sessions: Sessions,
    hub: Hub,
    agreement: StreamAgreement,
    partitions: int,
    health: Health,
) -> Callable[[], NodeInfo]:
    """Return what tells about this node; it begins now."""
    name = socket.gethostname()[:LONGEST_HOST]
    release = version("fanout-gateway")
    started = int(time.time() * 1000)

    def facts() -> NodeInfo:
        connections, subscriptions = len(sessions.open), hub.statistics().subscriptions
        readiness = health.readiness()
        return NodeInfo(
            node,
            name,
            release,
            started,
            connections,
            subscriptions,
            agreement.digest,
            agreement.both_ways,
            partitions,
            readiness.status,
            tuple(reason[:_LONGEST_REASON] for reason in readiness.reasons[:_MOST_TOLD]),
            readiness.away[:_MOST_TOLD],
            round(health.lag() * 1000, 3),
            resident_bytes(),
        )

    return facts


def build_administration(
    bus: Bus | None,
    sessions: Sessions,
    blocks: BlockList,
    *,
    facts: Callable[[], NodeInfo],
    clock: Callable[[], float],
    live: CapturedLive | None = None,
    partitions: PartitionDifference | None = None,
    forget_stream: Callable[[ForgetStream], None] | None = None,
) -> tuple[Cluster | None, ClusterAdministration]:
    """Build the node's view of the others, and the administration of all of them.

    Args:
        bus: reaches the others; None where this node is all there are, and then there is no view of them.
        sessions: of this node.
        blocks: who is kept out.
        facts: tells about this node.
        clock: monotonic seconds.
        live: is told of nodes whose streams capture other topics.
        partitions: is told of nodes that divide topics otherwise.
        forget_stream: lets go of what this node holds of a stream.

    Returns:
        The view, whose ``run`` is to be started once the bus has started; and the administration.
    """
    local = Administration(sessions)
    cluster = None
    if bus is not None:
        link = ControlLink(bus, ControlV1(), node=facts().node)
        cluster = Cluster(
            link,
            Membership(),
            local,
            blocks,
            facts=facts,
            clock=clock,
            live=live,
            partitions=partitions,
            forget_stream=forget_stream,
        )
    peers = NoPeers() if cluster is None else cluster
    administration = ClusterAdministration(
        local, peers, blocks, facts=facts, clock=clock, wall_clock=time.time
    )
    if cluster is not None:
        cluster.told |= administration.told
    return cluster, administration


def divert(
    cluster: Cluster, live: CapturedLive, deliver: Callable[[Publication], None]
) -> Callable[[Publication], None]:
    """Return what gives ``cluster`` what nodes tell each other, and ``deliver`` everything else.

    While nodes may differ in their streams, ``live`` looks at it before. Clients can publish to no topic that
    begins with ``$``, so one look at the first character is enough.
    """
    receive, deliver_live = cluster.receive, live.deliver

    def sort_out(publication: Publication) -> None:
        if publication.topic[0] == "$":
            receive(publication)
        elif live.looks:
            deliver_live(publication, deliver)
        else:
            deliver(publication)

    return sort_out
