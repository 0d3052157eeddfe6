"""What matching and changing cost at worst, with filters and topics made to hurt; counted, not timed.

Per shape a hub at its default limits is filled with filters of connections that hold as many as they may,
and its caches with topics. Then it is published to on ever new topics, and subscribed to and unsubscribed
from; the figures are the most operations that one publish and one command took.
"""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.fanout.hub import Hub, HubLimits
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.publication import Publication
from gateway.errors import NotFound, TooMany

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.core.messages.events import Event

FILTERS = 100_000


class _Nowhere:
    """A sink that takes everything, and an encoder of nothing."""

    def write(self, frames: bytes) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        pass

    def encode(self, event: Event) -> bytes:  # noqa: ARG002
        return b""

    def encode_message(self, publication: Publication) -> bytes:  # noqa: ARG002
        return b"m"

    def encode_history(self, publication: Publication, topic_filter: str) -> bytes:  # noqa: ARG002
        return b"h"

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:  # noqa: ARG002
        return b"s"


@dataclass(frozen=True)
class Shape:
    """An endless supply of filters and topics.

    Attributes:
        filters: of one connection, by its number.
        topics: what is published to.
        changes: filters to subscribe to and unsubscribe from, beside all the others, without end.
        enough: topics that fill the caches.
    """

    filters: Callable[[int, random.Random], Iterator[str]]
    topics: Callable[[random.Random], Iterator[str]]
    changes: Callable[[random.Random], Iterator[str]]
    enough: int = 70_000


def _levels(chosen: random.Random, length: int, of: str) -> str:
    return "/".join(chosen.choice(of) for _ in range(length))


def _mixed(number: int, chosen: random.Random) -> Iterator[str]:  # noqa: ARG001
    while True:
        yield _levels(chosen, 32, "+a")


def _triangle(number: int, chosen: random.Random) -> Iterator[str]:  # noqa: ARG001
    return (
        "/".join(["+"] * position + [bit] + ["+"] * rest + ["#"])
        for position in range(31)
        for bit in "01"
        for rest in range(31 - position)
    )


def _short(number: int, chosen: random.Random) -> Iterator[str]:  # noqa: ARG001
    for length in range(1, 8):
        for levels in itertools.product("+a", repeat=length):
            yield "/".join(levels)
            yield "/".join([*levels[:-1], "#"])


def _own(number: int, chosen: random.Random) -> Iterator[str]:  # noqa: ARG001
    return (f"u/{number}/{count}/+" for count in itertools.count())


def _same(number: int, chosen: random.Random) -> Iterator[str]:  # noqa: ARG001
    return (f"same/{count}/#" for count in itertools.count())


def _again(*filters: str) -> Callable[[random.Random], Iterator[str]]:
    return lambda _: itertools.cycle(filters)


def _numbered(form: str) -> Callable[[random.Random], Iterator[str]]:
    return lambda _: (form.format(number) for number in itertools.count())


def _random(length: int, of: str) -> Callable[[random.Random], Iterator[str]]:
    return lambda chosen: (_levels(chosen, length, of) for _ in itertools.count())


SHAPES = {
    "wildcards anywhere in 32 levels": Shape(
        _mixed, lambda _: ("a/" * 31 + str(n) for n in itertools.count()), _random(32, "+a"), 5000
    ),
    "each topic matches other 500 filters": Shape(
        _triangle, _random(31, "01"), _again("0/#", "+/0/#", "+/" * 30 + "+"), 10_000
    ),
    "all shapes of 7 levels": Shape(_short, _random(7, "a"), _again("a/#", "+/" * 6 + "a", "#")),
    "one wide filter, every topic": Shape(
        _own, _numbered("u/1/{}/x"), _again("u/#", "#", "u/1/+/x", "+/1/+/+")
    ),
    "a filter beside every topic": Shape(
        _own, _numbered("u/{0}/x/y"), _again("u/a/+/y", "u/+/b/y", "+/+/+/z")
    ),
    "filters that all hold": Shape(_same, _numbered("same/{}/x"), _again("same/+/x", "same/1/#", "#")),
}


BOUNDS = {
    "publish_visited": 5000,
    "publish_touched": 500,
    "publish_links": 40_000,
    "command_visited": 0,
    "command_touched": 1,
    "command_links": 5000,
    "cache_bytes": 128 << 20,
}
"""Not to be exceeded; a visit is about 0.2 µs, a topic touched 1 µs, a link 0.02 µs."""


def worst(filters: int) -> dict[str, float]:
    """The most over all shapes."""
    found = [measure(name, filters=filters) for name in SHAPES]
    return {each: max(most[each] for most in found) for each in BOUNDS}


def measure(
    name: str,
    *,
    filters: int = FILTERS,
    topics: int | None = None,
    rounds: int = 200,
    limits: HubLimits | None = None,
) -> dict[str, float]:
    """The most that a publish and a command took, and what the caches have grown to."""
    shape, chosen = SHAPES[name], random.Random(11)
    hub, nowhere = Hub(limits), _Nowhere()
    outboxes = [Outbox(nowhere, nowhere, OutboxLimits()) for _ in range(max(1, filters // 1000))]
    work = _Work(hub)
    for number, outbox in enumerate(outboxes):
        hub.attach(outbox)
        for topic_filter in itertools.islice(shape.filters(number, chosen), 1000):
            work.command(lambda each=topic_filter, to=outbox: hub.subscribe(to, each))  # type: ignore[misc]
    published = shape.topics(chosen)
    for topic in itertools.islice(published, topics or shape.enough):
        work.publish(topic)
    other = Outbox(nowhere, nowhere, OutboxLimits())
    hub.attach(other)
    for topic_filter in itertools.islice(shape.changes(chosen), rounds):
        work.command(lambda each=topic_filter: hub.subscribe(other, each))  # type: ignore[misc]
        work.publish(next(published))
        work.command(lambda each=topic_filter: hub.unsubscribe(other, each))  # type: ignore[misc]
        work.publish(next(published))
    for outbox in outboxes:
        work.command(lambda each=outbox: hub.detach(each))  # type: ignore[misc]
        while hub.leaving:
            work.command(hub.let_leave)
    statistics = hub.statistics()
    assert statistics.filters == 0
    return work.most | {"cache_bytes": work.most_bytes}


class _Work:
    """Counts what each step took."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lists = hub._targets  # noqa: SLF001
        self._index = hub._subscriptions._index  # noqa: SLF001
        self.most = dict.fromkeys(
            (f"{step}_{what}" for step in ("publish", "command") for what in ("visited", "touched", "links")),
            0.0,
        )
        self.most_bytes = 0.0

    def publish(self, topic: str) -> None:
        before = self._counted()
        self._hub.deliver(Publication(topic, "1", 0, b"1"))
        self._note("publish", before)
        for outbox in self._hub.take_writes(1 << 20):
            outbox.pending = None

    def command(self, step: Callable[[], object]) -> None:
        before = self._counted()
        with suppress(TooMany, NotFound):
            step()
        self._note("command", before)

    def _counted(self) -> tuple[int, int, int]:
        statistics = self._index.statistics()
        return statistics.visited, statistics.touched, self._lists.touched

    def _note(self, step: str, before: tuple[int, int, int]) -> None:
        now = self._counted()
        for what, late, early in zip(("visited", "touched", "links"), now, before, strict=True):
            key = f"{step}_{what}"
            self.most[key] = max(self.most[key], late - early)
        held = self._index.statistics().cached_bytes + self._lists.bytes
        self.most_bytes = max(self.most_bytes, held)
