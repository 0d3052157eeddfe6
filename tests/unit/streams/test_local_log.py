"""What readers of a log are told without asking anything slow."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.messages.publication import Publication, Publish
from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import PURGED, Hole, Page
from gateway.engine.publishing import _dedupe
from gateway.errors import RateLimited, StreamUnavailable
from gateway.streams.local_log import KeyShares, LocalLog, publisher_of


def filled(last: int) -> LocalLog:
    log = LocalLog("e")
    log.extend([publication(number) for number in range(1, last + 1)], [1] * last)
    return log


def publication(offset: int) -> Publication:
    return Publication("s/t", f"m{offset}", 0, b"1", None, None, None, None, "s", offset)


def read(log: LocalLog, after: int, wait: float) -> asyncio.Task[Page]:
    def page() -> Page:
        found = log.page(after, 100, 100)
        assert found is not None
        return found

    return asyncio.create_task(log.read(page, after, wait))


async def test_readers_get_the_very_publications_that_were_appended() -> None:
    log = filled(2)
    waiting = [read(log, 2, 60) for _ in range(3)]
    await asyncio.sleep(0)
    third = publication(3)
    log.extend([third], [1])
    for page in await asyncio.gather(*waiting):
        assert page.publications[0] is third


async def test_what_is_not_at_hand_has_to_be_asked_for() -> None:
    log = LocalLog("e", 5, 20)
    assert log.page(10, 5, 100) is None
    assert log.page(20, 5, 100) == Page(Bounds("e", 5, 20), ())
    log.extend([publication(21)], [1])
    page = log.page(20, 5, 100)
    assert page is not None
    assert [each.offset for each in page.publications] == [21]


def test_what_was_purged_is_a_hole_of_pages() -> None:
    log = filled(10)
    assert [each.offset for each in log.purge([1, 2, 5, 6, 10])] == [1, 2, 5, 6, 10]
    assert log.purge([5, 6]) == []
    pages = {after: log.page(after, 3, 100) for after in (0, 3, 4, 9, 10)}
    told = {
        after: ([each.offset for each in page.publications], [(each.first, each.last) for each in page.holes])
        for after, page in pages.items()
        if page is not None
    }
    assert told == {
        0: ([3, 4, 7], [(1, 2), (5, 6)]),
        3: ([4, 7, 8], [(5, 6)]),
        4: ([7, 8, 9], [(5, 6), (10, 10)]),
        9: ([], [(10, 10)]),
        10: ([], []),
    }
    assert {each.reason for each in log.holes(0, 10)} == {PURGED}
    assert [each.offset for each in log.drop(2)] == [3, 4]
    assert log.bounds == Bounds("e", 5, 10)
    assert list(log.holes(4, 7)) == [Hole(5, 6, PURGED)]
    log.restart(Bounds("f", 1, 10))
    assert list(log.holes(0, 10)) == []


async def test_trimming_lets_go_of_what_is_at_hand() -> None:
    log = filled(10)
    log.trim(4)
    log.trim(2)
    assert log.bounds == Bounds("e", 4, 10)
    page = log.page(0, 100, 100)
    assert page is not None
    assert [each.offset for each in page.publications] == list(range(4, 11))


async def test_beginning_again_wakes_readers_and_forgets() -> None:
    log = filled(3)
    reader = read(log, 3, 60)
    await asyncio.sleep(0)
    log.restart(Bounds("f", 1, 2))
    assert await reader == Page(Bounds("f", 1, 2), ())
    assert log.page(0, 10, 10) is None


async def test_beginning_again_with_the_same_changes_nothing() -> None:
    log = filled(3)
    reader = read(log, 3, 60)
    await asyncio.sleep(0)
    log.restart(Bounds("e", 1, 3))
    await asyncio.sleep(0)
    assert not reader.done()
    assert len(log.recent) == 3
    log.close()
    with pytest.raises(StreamUnavailable):
        await reader


async def test_nobody_is_left_waiting() -> None:
    log = filled(3)
    reader = read(log, 3, 60)
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert not (await read(log, 3, 0.001)).publications
    assert not log._readers


@pytest.mark.parametrize("subject", ["a", "a/b", "3:a/", "1:", "\U0001f600", "12"])
@pytest.mark.parametrize("key", ["k", "1:b/k", "/"])
def test_a_key_is_its_publishers(subject: str, key: str) -> None:
    command = Publish("t", b"1", idempotency_key=key)
    assert publisher_of(_dedupe(command, subject).key) == subject
    assert publisher_of(_dedupe(command, None).key) == ""


@pytest.mark.parametrize("key", ["", "9" * 5000 + ":a/k", "-1:a/k", "\u00b2:a/k", "k"])
def test_what_is_no_key_of_a_publisher_is_nobodys(key: str) -> None:
    assert publisher_of(key) == ""


def test_what_a_failed_transaction_took_is_free_again() -> None:
    shares = KeyShares("s", 4, ["1:a/1"])
    for _ in range(3):
        shares.begin()
        shares.take("1:a/2", 1)
    shares.settle()
    shares.begin()
    with pytest.raises(RateLimited):
        shares.take("1:a/3", 2)
    shares.give_back("1:a/1")
    shares.begin()
    with pytest.raises(RateLimited):
        shares.take("1:a/3", 2)
