"""A node's recorder on a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.cluster.control import AskStatistics
from gateway.core.statistics.latencies import Latencies
from gateway.core.statistics.series import HELD_SECONDS, NAMES
from gateway.engine.statistics import Figures, Held, StatisticsRecorder

from .cluster_world import now, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

from contextlib import asynccontextmanager


class World:
    """Parts whose figures are made up."""

    def __init__(self) -> None:
        self.published = self.connections = self.refused = self.looks = 0
        self.slow = 0.0
        self.latencies = Latencies()
        self.recorder = StatisticsRecorder(
            Figures(
                gauges=[lambda: {"connections": self.connections}],
                counted=[lambda: {"publications": self.published}],
                latencies={"fanout": lambda: self.latencies.counts, "bus": lambda: None},
                refused=lambda: {"origin": self.refused, "grant": 0},
                look=self.look,
                held=lambda: Held({"orders": {"messages": self.looks}}, {"orders/billing": {"depth": 7}}),
            ),
            wall_clock=now,
            clock=now,
            cpu_clock=lambda: now() / 4,
        )

    async def look(self) -> None:
        self.looks += 1
        await asyncio.sleep(self.slow)


@asynccontextmanager
async def recording(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.recorder.run())
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_each_second_has_its_sizes_and_what_was_counted_in_it() -> None:
    async def main() -> None:
        world = World()
        begin = int(now())
        async with recording(world):
            world.published, world.connections, world.refused = 5, 2, 1
            world.latencies.note(0.001)
            await asyncio.sleep(1)
            world.published = 6
            await asyncio.sleep(1)
        ring = world.recorder.ring
        assert ring.moments(9) == range(begin, begin + 2)
        series = ring.columns(ring.moments(2))
        assert set(series) == set(NAMES)
        assert series["publications"] == [5, 1]
        assert series["connections"] == [2, 2]
        assert series["refused"] == [1, 0]
        assert series["cpu"] == [0.25, 0.25]
        assert 1 <= series["fanout_max_ms"][0] <= 1.2
        assert series["fanout_max_ms"][1] is None
        assert series["bus_p50_ms"] == [None, None]
        assert world.recorder.totals()["publications"] == 6
        assert world.recorder.refused() == {"origin": 1}

    run(main())


def test_seconds_in_which_the_loop_stood_still_have_no_figures() -> None:
    async def main() -> None:
        world = World()
        async with recording(world):
            await asyncio.sleep(1)
            loop = asyncio.get_running_loop()
            loop._virtual.now += 3  # type: ignore[attr-defined]  # as long as something takes that never yields
            world.published = 9
            await asyncio.sleep(1)
        ring = world.recorder.ring
        assert ring.columns(ring.moments(9))["publications"] == [0, None, None, 9, 0]

    run(main())


def test_another_node_is_told_the_seconds_behind_the_one_it_knows() -> None:
    async def main() -> None:
        world = World()
        begin = int(now())
        assert world.recorder.page(AskStatistics(0, 10)).series == {}
        async with recording(world):
            await asyncio.sleep(5)
        page = world.recorder.page(AskStatistics(begin + 1, 2))
        assert (page.first, len(page.series["connections"])) == (begin + 2, 2)
        page = world.recorder.page(AskStatistics(begin - 10, 12))
        assert (page.first, len(page.series["connections"])) == (begin, 3), "no more than what was asked for"
        page = world.recorder.page(AskStatistics(begin - 10, 240))
        assert (page.first, len(page.series["connections"])) == (begin, 5)
        for after in (begin - 300, begin + 4):
            assert world.recorder.page(AskStatistics(after, 240)).series == {}

    run(main())


def test_what_streams_and_groups_hold_is_looked_at_less_often_the_longer_it_takes() -> None:
    async def main() -> None:
        world = World()
        async with recording(world):
            await asyncio.sleep(4 * HELD_SECONDS)
            assert world.looks == 5
            moments, held = world.recorder.held_columns(2 * HELD_SECONDS)
            assert len(moments) == 2
            assert held == {
                "stream": {"orders": {"messages": [4, 5]}},
                "group": {"orders/billing": {"depth": [7, 7]}},
            }
            world.slow = 1.0
            await asyncio.sleep(5 * HELD_SECONDS)
            # One began before it was slow, one more after; then it rests for twenty times as long.
            assert world.looks == 6

    run(main())


def test_whoever_waits_is_woken_each_second() -> None:
    async def main() -> None:
        world = World()
        async with recording(world):
            turned = world.recorder.turned
            assert not turned.is_set()
            await asyncio.sleep(1)
            assert turned.is_set()
            assert not world.recorder.turned.is_set()

    run(main())
