"""What a group knows of its log is bounded, whatever is published."""

from __future__ import annotations

import pytest

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.groups import backlog
from gateway.streams.memory import MemoryStore
from tests.conformance.store_contenders import LIMITS, Clock


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_stands_behind_too_many_delayed_or_parked_ones_waits_in_the_log(
    monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    monkeypatch.setattr(backlog, "_WAITING", 10)
    monkeypatch.setattr(backlog, "_PAGE", 4)
    clock = Clock()
    store = MemoryStore([StreamConfiguration("s", "s/#")], limits=LIMITS, clock=clock)
    await store.start()
    await store.groups.put("s", GroupConfiguration("g", ordered_by_key=ordered))
    for _ in range(40):
        delay, key = (None, "k") if ordered else (5_000, None)
        await store.append("s", Publication("s/a", "m", 0, b"1", delay=delay, key=key))
    await store.append("s", Publication("s/a", "m", 0, b"1"))
    got = (await store.groups.take("s", "g", ["m"] * 50)).deliveries
    assert [each.lease.offset for each in got] == ([1] if ordered else [])
    told = await store.groups.figures("s", "g")
    assert 10 <= told.delayed + told.parked < 20
    assert told.depth == 41
    # Nothing is stuck: as they are done, or come due, others come.
    await clock.advance(6)
    done: list[int] = []
    while got := got or (await store.groups.take("s", "g", ["m"] * 50)).deliveries:
        done += [each.lease.offset for each in got]
        assert all(await store.groups.acknowledge("s", "g", [each.lease for each in got]))
        got = ()
    assert sorted(done) == list(range(1, 42))
    await store.stop()
