"""The use case statistics, of this node or of all: what was, and what goes on."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from gateway.core.cluster.control import MOST_SECONDS, AskStatistics, StatisticsPage
from gateway.core.statistics.series import HELD_SECONDS, NAMES, SECONDS_KEPT, Seconds, merged
from gateway.engine.cluster.peers import Told
from gateway.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from gateway.core.statistics.ring import Value
    from gateway.engine.cluster.administration import Reach
    from gateway.engine.cluster.peers import Peers
    from gateway.engine.statistics import StatisticsRecorder

MOST_WATCHERS: Final = 64
"""Event streams of statistics that may be open on a node."""

_CLUSTER_DELAY: Final = 1
"""Seconds by which the others may be behind this node: by then they have looked, too."""

_REMEMBERED: Final = 30
"""Of the cluster's last seconds, for those who read them slowly."""


@dataclass(frozen=True, slots=True)
class Past:
    """The last seconds.

    Attributes:
        reach: whose they are.
        seconds: which; consecutive.
        series: by name, a value for each.
        held_moments: the same for ``streams`` and ``groups``, in steps of ``HELD_SECONDS``.
        streams: what each stream held, by name and figure.
        groups: what each group had to do.
        by_node: each node's newest figures.
    """

    reach: Reach
    seconds: range
    series: Mapping[str, Sequence[Value]]
    held_moments: range
    streams: Mapping[str, Mapping[str, Sequence[Value]]]
    groups: Mapping[str, Mapping[str, Sequence[Value]]]
    by_node: Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Second:
    """One second, as it is told while it goes on.

    Attributes:
        reach: whose it is.
        second: since 1970.
        values: by name.
        held: what streams and groups hold, ``(moment, streams, groups)``; None where nobody looked again.
        by_node: each node's figures of it.
    """

    reach: Reach
    second: int
    values: Mapping[str, Value]
    held: tuple[int, Mapping[str, Mapping[str, Value]], Mapping[str, Mapping[str, Value]]] | None
    by_node: Mapping[str, Mapping[str, Value]]


class StatisticsService:
    """Tells what a node has recorded, alone or with the others."""

    def __init__(
        self,
        recorder: StatisticsRecorder,
        peers: Peers,
        *,
        node: str,
        reach: Callable[[Told], Reach],
    ) -> None:
        """Tell what ``recorder`` of ``node`` has; ``reach`` tells how far a question to ``peers`` went."""
        self._recorder = recorder
        self._peers = peers
        self._node = node
        self._reach = reach
        self._watchers = 0
        self._cluster: deque[Second] = deque(maxlen=_REMEMBERED)
        self._asking = anyio.Lock()
        self._latest: int | None = None

    @property
    def totals(self) -> Mapping[str, float]:
        """What this node has counted since it began."""
        return self._recorder.totals()

    @property
    def refused(self) -> Mapping[str, int]:
        """The refusals of this node since it began, by limit."""
        return self._recorder.refused()

    async def past(self, seconds: int, *, cluster: bool) -> Past:
        """The last ``seconds``, as far as they are kept."""
        ring = self._recorder.ring
        moments, held = self._recorder.held_columns(seconds)
        told = Told()
        if cluster:
            # All of them: what was before this node began the others may know.
            end = self._recorder.newest
            wanted = range(end - seconds + 1, end + 1)
            nodes, told = await self._all(wanted)
            series = merged(nodes.values(), wanted)
        else:
            wanted = ring.moments(seconds)
            series = ring.columns(wanted)
            nodes = {self._node: Seconds(wanted.start, series)}
        nothing: list[Value] = [None] * len(wanted)
        series = {name: series.get(name, nothing) for name in NAMES}
        newest = {node: _newest(each) for node, each in nodes.items()}
        return Past(self._reach(told), wanted, series, moments, held["stream"], held["group"], newest)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take one of the places of those who watch.

        Raises:
            TooMany: all are taken.
        """
        if self._watchers >= MOST_WATCHERS:
            raise TooMany(f"{MOST_WATCHERS} event streams of statistics are open, which is the most")
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def events(self, since: int | None, *, cluster: bool) -> AsyncGenerator[Second, None]:
        """What goes on, second by second, from behind ``since``, or from the next one on.

        A reader that is slow misses what is no longer kept.
        """
        recorder = self._recorder
        last = since if since is not None else recorder.ring.end
        if since is not None and cluster and recorder.ring.end is not None:
            behind = min(SECONDS_KEPT, recorder.ring.end - _CLUSTER_DELAY - since)
            if behind > 0:
                past = await self.past(behind + _CLUSTER_DELAY, cluster=True)
                for second in past.seconds[:behind]:
                    yield _second_of(past, second)
                    last = second
        held: int | None = None
        while True:
            turned, end = recorder.turned, recorder.ring.end
            # A clock that was put back, or a reader whose time is none of this node's.
            if end is not None and last is not None and last > end:
                last = end - 1
            async with aclosing(self._cluster_behind(last) if cluster else self._own_behind(last)) as seconds:
                async for each in seconds:
                    last = each.second
                    told = self._held_behind(held)
                    held = told[0] if told is not None else held
                    yield Second(each.reach, each.second, each.values, told, each.by_node)
            await turned.wait()

    async def _own_behind(self, last: int | None) -> AsyncGenerator[Second, None]:
        ring = self._recorder.ring
        kept = ring.moments(SECONDS_KEPT)
        reach = self._reach(Told())
        for second in range(kept.start if last is None else max(last + 1, kept.start), kept.stop):
            values = ring.at(second)
            if any(value is not None for value in values.values()):
                yield Second(reach, second, values, None, {self._node: values})

    async def _cluster_behind(self, last: int | None) -> AsyncGenerator[Second, None]:
        await self._ask_once()
        for each in list(self._cluster):
            if last is None or each.second > last:
                yield each

    async def _ask_once(self) -> None:
        """Ask the others for what all who watch want to know, once a second."""
        async with self._asking:
            end = self._recorder.ring.end
            if end is None or self._latest == end:
                return
            if self._latest is not None and self._latest > end:
                self._latest = None
                self._cluster.clear()
            first = end - _CLUSTER_DELAY if self._latest is None else self._latest + 1 - _CLUSTER_DELAY
            first = max(first, end - _CLUSTER_DELAY - 10)
            wanted = range(first, end + 1 - _CLUSTER_DELAY)
            nodes, told = await self._all(wanted)
            # Not before: the reader who asks for all may go meanwhile, and then another one asks.
            self._latest = end
            reach = self._reach(told)
            series = merged(nodes.values(), wanted)
            for place, second in enumerate(wanted):
                values = {name: column[place] for name, column in series.items()}
                by_node = {node: _at(each, second) for node, each in nodes.items()}
                if any(value is not None for value in values.values()):
                    self._cluster.append(Second(reach, second, values, None, by_node))

    async def _all(self, wanted: range) -> tuple[dict[str, Seconds], Told]:
        """What every node has of these seconds, and who has told."""
        pages: list[tuple[int, Told]] = []

        async def ask(after: int, limit: int) -> None:
            pages.append((after, await self._peers.ask(AskStatistics(after, limit))))

        async with anyio.create_task_group() as tasks:
            for first in range(wanted.start, wanted.stop, MOST_SECONDS):
                tasks.start_soon(ask, first - 1, min(MOST_SECONDS, wanted.stop - first))
        nodes = {self._node: Seconds(wanted.start, self._recorder.ring.columns(wanted))}
        pages.sort(key=lambda page: page[0])
        missing: set[str] = set()
        others: dict[str, dict[str, list[Value]]] = {}
        for _, told in pages:
            missing.update(told.missing)
            for node, page in told.answers.items():
                if isinstance(page, StatisticsPage):
                    _place(page, others.setdefault(node, {}), wanted)
        # Of some it has told a part: who is told as missing has no share in the sum.
        nodes |= {
            node: Seconds(wanted.start, series) for node, series in others.items() if node not in missing
        }
        answers = {
            node: answer for _, told in pages for node, answer in told.answers.items() if node not in missing
        }
        complete = not missing and all(told.complete for _, told in pages)
        return nodes, Told(answers, tuple(sorted(missing)), complete)

    def _held_behind(
        self, moment: int | None
    ) -> tuple[int, Mapping[str, Mapping[str, Value]], Mapping[str, Mapping[str, Value]]] | None:
        """What streams and groups held last, unless that was at ``moment``."""
        end = self._recorder.held.end
        if end is None or end == moment:
            return None
        _, held = self._recorder.held_columns(HELD_SECONDS)
        streams, groups = (
            {
                name: {figure: column[-1] for figure, column in each.items()}
                for name, each in held[kind].items()
            }
            for kind in ("stream", "group")
        )
        return end, streams, groups


def _place(page: StatisticsPage, series: dict[str, list[Value]], wanted: range) -> None:
    """Put what one node has told where it belongs; its clock may be another, so that some belongs nowhere."""
    begin = page.first - wanted.start
    for name, values in page.series.items():
        column = series.setdefault(name, [None] * len(wanted))
        told = values[max(0, -begin) : max(0, len(wanted) - begin)]
        first = max(0, begin)
        column[first : first + len(told)] = told


def _at(node: Seconds, second: int) -> dict[str, Value]:
    place = second - node.first
    return {name: values[place] for name, values in node.series.items() if 0 <= place < len(values)}


def _newest(node: Seconds) -> dict[str, Value]:
    """The last second of which anything is known."""
    for place in range(max((len(each) for each in node.series.values()), default=0) - 1, -1, -1):
        values = _at(node, node.first + place)
        if any(value is not None for value in values.values()):
            return values
    return {}


def _second_of(past: Past, second: int) -> Second:
    place = second - past.seconds.start
    values = {name: column[place] for name, column in past.series.items()}
    return Second(past.reach, second, values, None, {})
