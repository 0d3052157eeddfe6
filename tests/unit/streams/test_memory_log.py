"""What a log in memory costs; what it promises is tests/conformance/test_store_topics.py."""

from __future__ import annotations

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.limits import StoreLimits
from gateway.streams.memory_log import MemoryLog


def log_of(count: int, topics: int, configuration: StreamConfiguration) -> MemoryLog:
    log = MemoryLog(configuration, StoreLimits())
    for number in range(count):
        log.append(Publication(f"s/{number % topics}", f"m{number}", 0, b"1"), 10, None)
    return log


def test_purged_publications_cost_a_range_where_they_were_side_by_side() -> None:
    log = log_of(5000, 10, StreamConfiguration("s", "s/#"))
    assert sum(log.purge("s/3", None)) == 500
    assert len(log.log.purged) == 500
    assert sum(log.purge("s/#", 4001)) == 3600
    assert len(log.log.purged) == 101
    assert (len(log.log.recent), log.log.recent.bytes) == (900, 9000)
    assert sum(log.purge("#", None)) == 900
    assert len(log.log.purged) == 1
    assert len(log.index) == 0
    assert log.log.bounds.first == 1


def test_purged_ranges_leave_with_the_log() -> None:
    log = log_of(4000, 2, StreamConfiguration("s", "s/#", max_messages=3000))
    sum(log.purge("s/1", None))
    assert len(log.log.purged) == 1500
    for number in range(6000):
        log.append(Publication("s/0", f"n{number}", 0, b"1"), 10, None)
    assert len(log.log.purged) == 0
    assert (log.log.bounds.first, len(log.log.recent)) == (7001, 3000)


def test_a_purge_takes_bounded_steps() -> None:
    log = log_of(200_000, 2, StreamConfiguration("s", "s/#"))
    steps = list(log.purge("s/1", None))
    assert sum(steps) == 100_000
    assert max(steps) <= 16_384


def test_what_is_appended_during_a_purge_stays() -> None:
    log = log_of(100_000, 2, StreamConfiguration("s", "s/#", last_values=True))
    purging = log.purge("s/1", None)
    next(purging)
    kept = log.append(Publication("s/1", "kept", 0, b"1"), 10, None)
    assert sum(purging) == 50_000
    page = log.select(["s/1"], 99_990, messages=10, size=1000)
    assert page is not None
    assert [each.offset for each in page.publications] == [kept.offset]
    assert log.last_value("s/1") is page.publications[0]


def test_a_page_tells_of_a_bounded_number_of_holes() -> None:
    log = log_of(10_000, 2, StreamConfiguration("s", "s/#"))
    sum(log.purge("s/1", None))
    after, holes, found = 0, 0, 0
    while after < 10_000:
        page = log.select(["s/0"], after, messages=3000, size=10**6)
        assert page is not None
        assert len(page.holes) <= 1024
        assert page.through > after
        after = page.through
        holes += sum(each.last + 1 - each.first for each in page.holes)
        found += len(page.publications)
    assert (holes, found) == (5000, 5000)


def test_a_wide_snapshot_is_read_by_its_order_and_a_narrow_one_by_its_topics() -> None:
    log = log_of(80_000, 40_000, StreamConfiguration("s", "s/#", last_values=True, max_messages=10))
    everything, after = [], 0
    while after < 80_000:
        page = log.snapshot("s/+", after, 80_000, messages=1000, size=10**6)
        everything += page.publications
        after = page.through
    assert [each.offset for each in everything] == list(range(40_001, 80_001))
    one = log.snapshot("s/5", 0, None, messages=10, size=10**6)
    assert [each.offset for each in one.publications] == [40_006]
    assert one.through == 80_000


def test_last_values_are_bounded_and_those_that_went_counted() -> None:
    log = log_of(100, 10, StreamConfiguration("s", "s/#", last_values=True, last_values_max_topics=4))
    assert len(log.values) == 4
    assert log.evicted == 96
    assert log.last_value("s/5") is None
    assert log.last_value("s/6") is not None
    assert len(log.index) == 10
