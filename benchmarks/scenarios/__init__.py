"""The scenarios, by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.scenarios.bus_to_bus import BusToBus
from benchmarks.scenarios.busy_neighbours import Burst, Everybody
from benchmarks.scenarios.encrypted import EncryptedConnections, EncryptedFanOut
from benchmarks.scenarios.fan_out import FanOut, FanOutLarge, FanOutWildcards
from benchmarks.scenarios.fixed_rate import FixedRate
from benchmarks.scenarios.idle_connections import IdleConnections
from benchmarks.scenarios.idle_members import IdleMembers
from benchmarks.scenarios.index import Index
from benchmarks.scenarios.local_store import LocalStore
from benchmarks.scenarios.many_filters import ManyFilters
from benchmarks.scenarios.many_keys import ManyKeys
from benchmarks.scenarios.no_fan_out import NoFanOut
from benchmarks.scenarios.node_to_node import NodeToNode
from benchmarks.scenarios.one_redis import OneRedis
from benchmarks.scenarios.own_topics import OwnTopics
from benchmarks.scenarios.publishing import Publishing
from benchmarks.scenarios.redis_appends import RedisAppends
from benchmarks.scenarios.redrive import Redrive
from benchmarks.scenarios.replay import Replay
from benchmarks.scenarios.snapshots import Snapshots
from benchmarks.scenarios.storm import Storm
from benchmarks.scenarios.stuck_subscribers import StuckSubscribers
from benchmarks.scenarios.topic_history import TopicHistory
from benchmarks.scenarios.waiting import Waiting
from benchmarks.scenarios.working_off import WorkingOff

if TYPE_CHECKING:
    from benchmarks.scenarios.base import Scenario

SCENARIOS: dict[str, type[Scenario]] = {
    scenario.id: scenario
    for scenario in (
        FanOut,
        FanOutWildcards,
        FanOutLarge,
        ManyFilters,
        NoFanOut,
        FixedRate,
        IdleConnections,
        StuckSubscribers,
        Publishing,
        Index,
        Burst,
        Everybody,
        BusToBus,
        NodeToNode,
        OneRedis,
        LocalStore,
        RedisAppends,
        Replay,
        Storm,
        TopicHistory,
        OwnTopics,
        Snapshots,
        EncryptedFanOut,
        EncryptedConnections,
        WorkingOff,
        IdleMembers,
        Waiting,
        Redrive,
        ManyKeys,
    )
}
