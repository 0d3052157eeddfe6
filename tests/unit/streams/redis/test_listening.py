"""Hearing of appends: no reader sleeps on when something was appended, or may have been."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gateway.core.timing.backoff import Backoff
from gateway.redis.servers import Address
from gateway.streams.redis.append_signal import AppendSignal
from gateway.streams.redis.listening import LINGER_SECONDS, AppendListener


class Scene:
    """A listener without a connection: the test plays the server."""

    def __init__(self, *, sharded: bool = False) -> None:
        servers: Any = SimpleNamespace(sharded=sharded)
        self.relocated = 0
        self.signal = AppendSignal()
        self.listener = AppendListener(
            servers,
            Address("h", 1),
            beat_seconds=1.0,
            silence_seconds=3.0,
            backoff=Backoff(first_seconds=1, limit_seconds=1),
            relocate=self._relocate,
        )

    def _relocate(self) -> None:
        self.relocated += 1

    def announces(self) -> bool:
        return self.listener.announces(b"c", self.signal)

    def subscribe(self) -> None:
        assert not self.announces()
        self.listener.changes(0)
        self.listener.push([b"subscribe", b"c", 1])


def test_whoever_asks_is_listened_for_and_told_once_it_is_confirmed() -> None:
    scene = Scene()
    assert not scene.announces()
    assert scene.listener.changes(0) == [("SUBSCRIBE", b"c")]
    assert scene.listener.changes(0) == []
    assert not scene.announces()
    assert scene.signal.notified == 0
    scene.listener.push([b"subscribe", b"c", 1])
    assert scene.announces()
    assert scene.signal.notified == 1


def test_an_announcement_notifies_if_it_is_news_or_says_nothing() -> None:
    scene = Scene()
    scene.subscribe()
    counts = []
    for content in (b"1-a 5", b"1-a 5", b"1-a 6", b"?", b"\xff 7"):
        scene.listener.push([b"message", b"c", content])
        counts.append(scene.signal.notified)
    assert counts == [2, 2, 3, 4, 5]


def test_an_end_that_somebody_made_up_hides_no_append() -> None:
    scene = Scene()
    scene.subscribe()
    scene.signal.note_end("1-a", 5)
    scene.listener.push([b"message", b"c", b"1-a 1000000"])
    scene.signal.note_end("1-a", 5)
    notified = scene.signal.notified
    scene.listener.push([b"message", b"c", b"1-a 6"])
    assert scene.signal.notified == notified + 1


def test_what_no_reader_has_waited_for_in_a_while_is_not_listened_to() -> None:
    scene = Scene()
    scene.signal.left = 100.0
    scene.subscribe()
    assert scene.listener.changes(100.0 + LINGER_SECONDS) == []
    assert scene.listener.changes(100.1 + LINGER_SECONDS) == [("UNSUBSCRIBE", b"c")]
    scene.listener.push([b"unsubscribe", b"c", 0])
    assert scene.relocated == 0
    assert scene.listener.changes(101.0 + LINGER_SECONDS) == []
    assert not scene.announces()
    assert scene.listener.changes(101.0 + LINGER_SECONDS) == [("SUBSCRIBE", b"c")]


def test_a_log_that_is_wanted_again_before_its_end_is_confirmed() -> None:
    scene = Scene()
    scene.subscribe()
    scene.listener.release(b"c")
    assert scene.listener.changes(0) == [("UNSUBSCRIBE", b"c")]
    assert not scene.announces()
    assert scene.listener.changes(0) == [("SUBSCRIBE", b"c")]
    scene.listener.push([b"unsubscribe", b"c", 0])
    assert scene.relocated == 0
    notified = scene.signal.notified
    scene.listener.push([b"subscribe", b"c", 1])
    assert scene.announces()
    assert scene.signal.notified == notified + 1


def test_an_end_by_the_server_wakes_readers_up_and_is_asked_for_again() -> None:
    scene = Scene(sharded=True)
    scene.subscribe()
    notified = scene.signal.notified
    scene.listener.push([b"sunsubscribe", b"c", 0])
    assert scene.signal.notified == notified + 1
    assert scene.relocated == 1
    assert not scene.announces()
    assert scene.listener.changes(0) == [("SSUBSCRIBE", b"c")]


def test_a_log_that_moves_is_asked_for_again() -> None:
    scene = Scene(sharded=True)
    scene.announces()
    assert scene.listener.changes(0) == [("SSUBSCRIBE", b"c")]
    scene.listener.moved()
    assert scene.relocated == 1
    assert scene.listener.changes(0) == [("SSUBSCRIBE", b"c")]


def test_what_is_none_of_the_wanted_channels_is_nobody_s_affair() -> None:
    scene = Scene()
    for push in ([b"pong", b""], [b"message", b"d", b"1-a 1"], [b"unsubscribe", b"d", 0]):
        scene.listener.push(push)
    assert (scene.signal.notified, scene.relocated) == (0, 0)
