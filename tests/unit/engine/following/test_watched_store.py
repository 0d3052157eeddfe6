"""What is found wrong with streams is counted, logged once, and shown."""

from __future__ import annotations

import logging

import pytest

from gateway.core.messages.publication import Publication
from gateway.engine.following.watched_store import FAILING_SECONDS, LOG_SECONDS, WatchedStore
from gateway.errors import StreamUnavailable
from tests.unit.engine.model_store import ModelStore


class Watching:
    def __init__(self) -> None:
        self.now = 100.0
        self.store = ModelStore("s")
        self.connected = True
        self.watched = WatchedStore(self.store, connected=lambda: self.connected, clock=lambda: self.now)
        for number in range(1, 41):
            self.store.logs["s"].append(Publication("s/a", f"m{number}", number, b"1"))

    def remove(self, *offsets: int) -> None:
        for offset in offsets:
            self.store.logs["s"].remove(offset)

    async def read(self, after: int = 0) -> None:
        await self.watched.read("s", after, messages=7)


async def test_a_hole_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    watching = Watching()
    watching.remove(3, 4)
    for after in (0, 0, 3):
        await watching.read(after)
    assert watching.watched.missing() == {"s": 2}
    (line,) = [record.message for record in caplog.records]
    assert "2 publications are missing or damaged, the newest found among offsets 3 to 4" in line


async def test_many_holes_share_a_line(caplog: pytest.LogCaptureFixture) -> None:
    watching = Watching()
    watching.remove(*range(2, 40, 2))
    for after in range(0, 35, 7):
        await watching.read(after)
    assert len(caplog.records) == 1
    watching.now += LOG_SECONDS
    await watching.read(30)
    assert len(caplog.records) == 2
    assert watching.watched.missing() == {"s": 18}


async def test_a_stream_that_cannot_be_read_shows_until_it_can(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watching = Watching()
    assert watching.watched.readable("s")
    watching.store.away = True
    for _ in range(3):
        with pytest.raises(StreamUnavailable):
            await watching.read()
    assert not watching.watched.readable("s")
    watching.store.away = False
    await watching.read()
    assert watching.watched.readable("s")
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_a_failure_that_nobody_has_met_again_is_forgotten() -> None:
    watching = Watching()
    watching.store.away = True
    with pytest.raises(StreamUnavailable):
        await watching.read()
    watching.now += FAILING_SECONDS + 1
    assert watching.watched.readable("s")


async def test_what_fails_while_the_whole_store_is_away_says_nothing_of_a_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watching = Watching()
    watching.store.away = True
    with pytest.raises(StreamUnavailable):
        await watching.read()
    assert not watching.watched.readable("s")
    watching.connected = False
    with pytest.raises(StreamUnavailable):
        await watching.read()
    # Whether anybody looked meanwhile or not.
    watching.connected = True
    assert watching.watched.readable("s")
    assert len(caplog.records) == 1
