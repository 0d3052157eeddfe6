"""The world around a node: the time, its bus and its store. Tests put others in their place."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.core.timing.steady_time import SteadyTime

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.bus.base import Bus
    from gateway.streams.base import Store


@dataclass(frozen=True, slots=True)
class NodeClock:
    """Where a node reads the time; functions, as some of them are called for every message.

    Attributes:
        monotonic: seconds that only grow.
        wall: seconds since 1970.
        wall_ns: nanoseconds since 1970.
        steady: the time of day for what this process alone counts by, so that it never goes back.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    wall_ns: Callable[[], int] = time.time_ns
    steady: SteadyTime = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Let time go on from now."""
        object.__setattr__(self, "steady", SteadyTime(self.wall_ns, self.monotonic))

    def milliseconds(self) -> int:
        """Milliseconds since 1970."""
        return self.wall_ns() // 1_000_000


def _same_bus(bus: Bus) -> Bus:
    return bus


def _same_store(store: Store) -> Store:
    return store


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The world around a node.

    Attributes:
        clock: the time; a store that is shared with other processes has its own.
        bus: puts another in the place of the bus that the settings name.
        store: the same of the store.
    """

    clock: NodeClock = field(default_factory=NodeClock)
    bus: Callable[[Bus], Bus] = _same_bus
    store: Callable[[Store], Store] = _same_store
