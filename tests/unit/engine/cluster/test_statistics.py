"""Statistics of several nodes together, over a bus in memory."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.core.cluster.control import AskStatistics, StatisticsPage
from gateway.engine.cluster.statistics import MOST_WATCHERS, StatisticsService
from gateway.engine.statistics import Figures, StatisticsRecorder
from gateway.errors import TooMany
from tests.unit.engine.cluster_world import Node, Wire, now, run, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.engine.cluster.statistics import Second


class Counting:
    """A node that has so many connections, and publishes so much a second."""

    def __init__(self, name: str, wires: list[Wire], connections: int) -> None:
        self.node = Node(name, wires)
        self.recorder = StatisticsRecorder(
            Figures(
                gauges=[lambda: {"connections": connections, "lag_ms": connections}],
                counted=[lambda: {"publications": int(now()) * 10}],
            ),
            wall_clock=now,
            clock=now,
            cpu_clock=lambda: 0.0,
        )
        self.node.cluster.told[AskStatistics] = self.recorder.page
        self.service = StatisticsService(
            self.recorder, self.node.cluster, node=name, reach=self.node.administration.reach
        )


@asynccontextmanager
async def counting(*nodes: Counting) -> AsyncIterator[None]:
    async with running(*(each.node for each in nodes)):
        tasks = [asyncio.create_task(each.recorder.run()) for each in nodes]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def first(
    service: StatisticsService, count: int, since: int | None = None, *, cluster: bool
) -> list[Second]:
    found: list[Second] = []
    async with aclosing(service.events(since, cluster=cluster)) as events:
        async for each in events:
            found.append(each)
            if len(found) == count:
                break
    return found


def test_the_past_of_all_nodes_is_that_of_each_together() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        async with counting(one, two):
            await asyncio.sleep(3.5)
            past = await one.service.past(10, cluster=True)
            assert past.reach.nodes == ["one", "two"]
            assert past.reach.complete
            assert len(past.seconds) == 10
            assert past.series["connections"][-3:] == [7, 7, 7]
            assert past.series["connections"][0] is None
            assert past.series["lag_ms"][-1] == 4
            assert past.series["publications"][-1] == 20
            assert past.by_node["two"]["connections"] == 4
            alone = await one.service.past(10, cluster=False)
            assert alone.series["connections"] == [3] * len(alone.seconds)
            assert alone.by_node.keys() == {"one"}

    run(main())


def test_more_than_one_page_is_asked_for() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        async with counting(one, two):
            await asyncio.sleep(1000.5)
            past = await one.service.past(900, cluster=True)
            assert list(past.series["connections"]) == [7] * 900

    run(main())


@pytest.mark.parametrize("seconds", [100, 300, 500, 700])
def test_each_second_has_its_own_figures_however_long_the_nodes_have_been_there(seconds: int) -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        for each in (one, two):
            each.recorder._figures.gauges = [lambda: {"connections": int(now())}]
        async with counting(one):
            await asyncio.sleep(1000 - seconds)
            async with counting(two):
                await asyncio.sleep(seconds + 0.5)
                alone = (await one.service.past(900, cluster=False)).series["connections"]
                past = await one.service.past(900, cluster=True)
                both = sum(
                    value is not None for value in two.recorder.ring.columns(past.seconds)["connections"]
                )
                assert both < 900
                assert past.series["connections"] == [
                    *alone[: 900 - both],
                    *(2 * value for value in alone[900 - both :]),
                ]
                assert past.by_node["two"]["connections"] == alone[-1]

    run(main())


@pytest.mark.parametrize("ahead", [-1e12, -50, 10, 50, 1e12])
def test_a_node_whose_clock_is_wrong_costs_nothing_and_changes_no_other_second(ahead: float) -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        two.recorder._wall_clock = lambda: now() + ahead + 2e12
        one.recorder._wall_clock = lambda: now() + 2e12
        async with counting(one, two):
            await asyncio.sleep(30.5)
            past = await one.service.past(10, cluster=True)
            assert past.reach.complete
            assert set(past.series["connections"]) == ({7} if ahead == 10 else {3})
            assert (await first(one.service, 1, cluster=True))[0].values["connections"] in {3, 7}

    run(main())


def test_a_node_that_does_not_answer_is_named_and_left_out() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        async with counting(one, two):
            await asyncio.sleep(3.5)
            two.node.wire.cut = True
            past = await one.service.past(3, cluster=True)
            assert (past.reach.nodes, past.reach.missing, past.reach.complete) == (["one"], ["two"], False)
            assert past.series["connections"] == [3, 3, 3]

    run(main())


def test_a_node_that_tells_only_a_part_is_left_out() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        pages: list[AskStatistics] = []

        def tell_once(asked: AskStatistics) -> StatisticsPage | None:
            pages.append(asked)
            return two.recorder.page(asked) if len(pages) == 1 else None

        two.node.cluster.told[AskStatistics] = tell_once
        async with counting(one, two):
            await asyncio.sleep(900.5)
            past = await one.service.past(900, cluster=True)
            assert len(pages) > 1
            assert (past.reach.nodes, past.reach.missing, past.reach.complete) == (["one"], ["two"], False)
            assert set(past.series["connections"]) <= {3, None}
            assert past.by_node.keys() == {"one"}

    run(main())


def test_a_node_that_has_just_begun_tells_what_the_others_had() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        async with running(one.node), counting(two):
            await asyncio.sleep(5.5)
            past = await one.service.past(3, cluster=True)
            assert past.reach.nodes == ["one", "two"]
            assert past.series["connections"] == [4, 4, 4]

    run(main())


def test_events_of_a_node_go_on_from_where_a_reader_was() -> None:
    async def main() -> None:
        one = Counting("one", [], 3)
        async with counting(one):
            await asyncio.sleep(5.5)
            end = one.recorder.ring.end
            assert end is not None
            found = await first(one.service, 5, end - 3, cluster=False)
            assert [each.second for each in found] == [*range(end - 2, end + 3)]
            assert found[0].values["connections"] == 3
            found = await first(one.service, 1, cluster=False)
            assert found[0].second == end + 3

    run(main())


@pytest.mark.parametrize("since", [True, False])
def test_events_of_all_nodes_leave_no_second_out(since: bool) -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        async with counting(one, two):
            await asyncio.sleep(5.5)
            end = one.recorder.ring.end
            assert end is not None
            found, others = await asyncio.gather(
                first(one.service, 6, end - 3 if since else None, cluster=True),
                first(one.service, 3, cluster=True),
            )
            seconds = [each.second for each in found]
            assert seconds == [*range(seconds[0], seconds[0] + 6)]
            assert not since or seconds[0] == end - 2
            assert {each.values["connections"] for each in (*found, *others)} == {7}
            assert found[-1].by_node["two"]["connections"] == 4

    run(main())


@pytest.mark.parametrize("cluster", [True, False])
def test_a_reader_from_the_future_gets_what_there_is(cluster: bool) -> None:
    async def main() -> None:
        one = Counting("one", [], 3)
        async with counting(one):
            await asyncio.sleep(5.5)
            end = one.recorder.ring.end
            assert end is not None
            found = await first(one.service, 2, end + 10_000, cluster=cluster)
            assert end <= found[0].second < found[1].second <= end + 3

    run(main())


@pytest.mark.parametrize("seconds", [60, 5_000])
@pytest.mark.parametrize("cluster", [True, False])
def test_a_clock_that_is_put_back_ends_nobodys_events(cluster: bool, seconds: int) -> None:
    async def main() -> None:
        one = Counting("one", [], 3)
        shift = 0.0
        one.recorder._wall_clock = lambda: now() - shift
        async with counting(one):
            await asyncio.sleep(5.5)
            async with aclosing(one.service.events(None, cluster=cluster)) as events:
                before = await anext(events)
                shift = float(seconds)
                after = await anext(events)
                for _ in range(3):
                    if after.second > before.second:
                        after = await anext(events)
                assert after.second < before.second - 0.8 * seconds
                assert (await anext(events)).second > after.second

    run(main())


def test_watchers_share_one_question_a_second() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        async with counting(one, two):
            await asyncio.sleep(2.5)
            before = one.node.cluster.statistics().questions
            await asyncio.gather(*(first(one.service, 5, cluster=True) for _ in range(8)))
            assert one.node.cluster.statistics().questions - before <= 7

    run(main())


def test_a_watcher_who_goes_while_it_asks_takes_nothing_from_the_others() -> None:
    async def main() -> None:
        wires: list[Wire] = []
        one, two = Counting("one", wires, 3), Counting("two", wires, 4)
        async with counting(one, two):
            await asyncio.sleep(2.5)
            asking = asyncio.create_task(first(one.service, 9, cluster=True))
            await asyncio.sleep(0.01)
            watching = asyncio.create_task(first(one.service, 8, cluster=True))
            await asyncio.sleep(3)
            two.node.wire.cut = True  # so a question takes its whole time
            await asyncio.sleep(1.5)
            asking.cancel()
            seconds = [each.second for each in await watching]
            assert seconds == [*range(seconds[0], seconds[0] + 8)]

    run(main())


def test_places_to_watch_are_bounded() -> None:
    async def main() -> None:
        one = Counting("one", [], 3)
        places = [one.service.watching() for _ in range(MOST_WATCHERS)]
        for each in places:
            each.__enter__()
        with pytest.raises(TooMany), one.service.watching():
            pass
        places[0].__exit__(None, None, None)
        with one.service.watching():
            pass

    run(main())
