"""What a scenario is: what it does at each peer, what its table shows, what is asked of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from benchmarks.measurement import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.measurement import Measurement, Target
    from benchmarks.peers.base import Peer

TOPIC = "bench/load/a/b/c/d"
EMBEDDED = ("embedded-direct",)
ALL_PEERS = ("gateway", "nats", "uwebsockets", "mosquitto", "broadcast", "starlette", "floor")

PER_CPU = Column("deliveries_per_cpu_second", "deliveries / server CPU s")
PER_SECOND = Column("deliveries_per_second", "deliveries / s")
MESSAGES_PER_CPU = Column("messages_per_cpu_second", "messages / server CPU s")
MESSAGES_PER_SECOND = Column("messages_per_second", "messages / s")
P50 = Column("latency_p50", "p50 ms", 1)
P99 = Column("latency_p99", "p99 ms", 1)
P999 = Column("latency_p999", "p99.9 ms", 1)
SERVER_CPU = Column("server_cpu", "server CPU %")
LOAD_CPU = Column("load_cpu", "load CPU %")


class Scenario(ABC):
    """One line of the table of scenarios.

    Attributes:
        columns: the figures shown; the first one is drawn and compared.
        grows: whether its size is scaled, so that it can be run at a tenth of it.
        seconds: how long each measurement takes, where nothing else is asked for.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    peers: ClassVar[Sequence[str]] = ("gateway",)
    columns: ClassVar[Sequence[Column]] = (PER_CPU, PER_SECOND, P50, P99, P999, SERVER_CPU, LOAD_CPU)
    targets: ClassVar[Sequence[Target]] = ()
    grows: ClassVar[bool] = True
    seconds: ClassVar[float] = 3.0

    @abstractmethod
    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        """Measure all variants once at ``peer``."""
