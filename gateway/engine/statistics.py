"""A node's figures, looked at once a second and kept for a while, so that who begins to look sees what was.

The parts count anyway; here is only read what they have counted, and what it was a second ago taken away.
What streams and groups hold has to be asked of their store, so that is looked at less often, and the less
often the longer it takes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from gateway.core.cluster.control import StatisticsPage
from gateway.core.statistics.latencies import percentile, since
from gateway.core.statistics.ring import Ring
from gateway.core.statistics.series import (
    COUNTED,
    HELD_SECONDS,
    LATENCIES,
    MOST_GROUPS,
    MOST_STREAMS,
    NAMES,
    PERCENTILES,
    SECONDS_KEPT,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.core.cluster.control import AskStatistics
    from gateway.core.statistics.ring import Value

HeldName = tuple[str, str, str]
"""``stream`` or ``group``, its name, and the figure's."""

_LOOK_SHARE: Final = 20
"""A look at what streams and groups hold is followed by a rest so many times as long, at least."""

_LONGEST_REST: Final = 60.0

_AFTER_THE_SECOND: Final = 0.005
"""So that a timer that fires a little early isn't taken for the second before."""


class Held(NamedTuple):
    """What streams and groups hold at one moment, by name."""

    streams: Mapping[str, Mapping[str, Value]]
    groups: Mapping[str, Mapping[str, Value]]


@dataclass(slots=True)
class Figures:
    """Where a node's figures are read, each by what gives several of them by name.

    Attributes:
        gauges: sizes now.
        counted: counts since the start.
        latencies: counts of ``Latencies`` since the start; None where there is nothing of the kind.
        refused: refusals since the start, by limit.
        look: asks streams and groups what they hold; bounded in time, doesn't fail.
        held: what it found.
    """

    gauges: list[Callable[[], Mapping[str, Value]]] = field(default_factory=list)
    counted: list[Callable[[], Mapping[str, float]]] = field(default_factory=list)
    latencies: dict[str, Callable[[], Sequence[int] | None]] = field(default_factory=dict)
    refused: Callable[[], Mapping[str, int]] = dict
    look: Callable[[], Awaitable[None]] | None = None
    held: Callable[[], Held] = lambda: Held({}, {})


class StatisticsRecorder:
    """Keeps the last minutes of one node.

    Attributes:
        ring: the figures of each second.
        held: what streams and groups held, every ``HELD_SECONDS``.
        turned: set and replaced whenever there is another second.
    """

    def __init__(
        self,
        figures: Figures,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        """Read ``figures``.

        Args:
            figures: where to read them.
            wall_clock: tells seconds apart.
            clock: tells how long things take.
            cpu_clock: seconds for which the process has used a core.
        """
        self._figures = figures
        self._wall_clock = wall_clock
        self._clock = clock
        self.ring: Ring[str] = Ring(SECONDS_KEPT)
        self.held: Ring[HeldName] = Ring(SECONDS_KEPT // HELD_SECONDS)
        self.turned = anyio.Event()
        self._counted: Mapping[str, float] = {}
        self._latencies: dict[str, Sequence[int]] = {}
        self._cpu_clock = cpu_clock
        self._looked_at, self._used = clock(), cpu_clock()

    @property
    def newest(self) -> int:
        """The newest second; before the first look, the one that other nodes have looked at last."""
        return int(self._wall_clock()) - 1 if self.ring.end is None else self.ring.end

    async def run(self) -> None:
        """Look for ever."""
        self._counted, self._latencies = self.totals(), self._counts()
        self._looked_at, self._used = self._clock(), self._cpu_clock()
        async with anyio.create_task_group() as tasks:
            if self._figures.look is not None:
                tasks.start_soon(self._keep_looking, self._figures.look)
            while True:
                await anyio.sleep(1 - self._wall_clock() % 1 + _AFTER_THE_SECOND)
                self.look()

    def look(self) -> None:
        """Take the figures of the second that has just ended."""
        now = self._clock()
        elapsed, self._looked_at = max(1e-3, now - self._looked_at), now
        values = dict.fromkeys(NAMES) | self._gauges() | self._counts_of_the_second()
        used, self._used = self._used, self._cpu_clock()
        # Of one core, however long the second was: a busy event loop is late.
        values["cpu"] = round((self._used - used) / elapsed, 4)
        second = int(self._wall_clock()) - 1
        if self.ring.add(second, values):
            self.turned.set()
            self.turned = anyio.Event()

    def totals(self) -> dict[str, float]:
        """What is counted since the start, by name."""
        totals: dict[str, float] = dict.fromkeys(COUNTED, 0)
        for read in self._figures.counted:
            totals.update(read())
        totals["refused"] = sum(self._figures.refused().values())
        return totals

    def refused(self) -> Mapping[str, int]:
        """Refusals since the start by limit, without those that have refused nothing."""
        return {limit: count for limit, count in self._figures.refused().items() if count}

    def page(self, asked: AskStatistics) -> StatisticsPage:
        """What another node wants to know of the seconds behind one."""
        kept, first = self.ring.moments(SECONDS_KEPT), asked.after + 1
        # No other ones, whatever is kept: the next page is told what is behind these.
        seconds = range(max(first, kept.start), min(first + asked.limit, kept.stop))
        if not seconds:
            return StatisticsPage(first, {})
        columns = self.ring.columns(seconds)
        return StatisticsPage(seconds.start, {name: tuple(each) for name, each in columns.items()})

    def held_columns(self, seconds: int) -> tuple[range, dict[str, dict[str, dict[str, list[Value]]]]]:
        """What streams and groups held in the last ``seconds``: the moments; figures by kind and name."""
        moments = self.held.moments(-(-seconds // HELD_SECONDS))
        told: dict[str, dict[str, dict[str, list[Value]]]] = {"stream": {}, "group": {}}
        for (kind, name, figure), column in self.held.columns(moments).items():
            told[kind].setdefault(name, {})[figure] = column
        return moments, told

    def _gauges(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for read in self._figures.gauges:
            values.update(read())
        return values

    def _counts(self) -> dict[str, Sequence[int]]:
        counts = {name: read() for name, read in self._figures.latencies.items()}
        return {name: list(each) for name, each in counts.items() if each is not None}

    def _counts_of_the_second(self) -> dict[str, Value]:
        before, now = self._counted, self.totals()
        values: dict[str, Value] = {name: total - before.get(name, 0) for name, total in now.items()}
        earlier, latencies = self._latencies, self._counts()
        for name in LATENCIES:
            if name in latencies and name in earlier:
                values |= _percentiles(name, since(earlier[name], latencies[name]))
        self._counted, self._latencies = now, latencies
        return values

    async def _keep_looking(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            began = self._clock()
            await look()
            self._hold()
            rest = min(_LONGEST_REST, _LOOK_SHARE * (self._clock() - began))
            due = HELD_SECONDS - self._wall_clock() % HELD_SECONDS + _AFTER_THE_SECOND
            await anyio.sleep(max(rest, due))

    def _hold(self) -> None:
        found = self._figures.held()
        values: dict[HeldName, Value] = {}
        for kind, most, parts in (
            ("stream", MOST_STREAMS, found.streams),
            ("group", MOST_GROUPS, found.groups),
        ):
            for name in sorted(parts)[:most]:
                values |= {(kind, name, figure): value for figure, value in parts[name].items()}
        self.held.add(int(self._wall_clock()) // HELD_SECONDS, values)


def _percentiles(name: str, counts: Sequence[int]) -> dict[str, Value]:
    found = {label: percentile(counts, share) for label, share in PERCENTILES}
    return {
        f"{name}_{label}_ms": None if seconds is None else round(seconds * 1000, 3)
        for label, seconds in found.items()
    }
