"""What is wanted of a server's channels, against what it has confirmed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import RedisUnavailable, Unavailable
from gateway.redis.channels import ChannelState, ChannelSubscription, PushConnection
from gateway.redis.wire import CommandRefused, Moved
from tests.unit.engine.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.redis.wire import Command, Reply


def subscribed() -> ChannelSubscription:
    subscription = ChannelSubscription(b"c")
    subscription.subscribe(sharded=False)
    assert subscription.confirmed()
    return subscription


def test_a_subscription_counts_once_it_is_confirmed() -> None:
    subscription = ChannelSubscription(b"c")
    assert subscription.subscribe(sharded=False) == ("SUBSCRIBE", b"c")
    assert not subscription.subscribed
    assert subscription.confirmed()
    assert subscription.subscribed
    assert subscription.unsubscribe(sharded=False) == ("UNSUBSCRIBE", b"c")
    assert not subscription.subscribed
    assert not subscription.idle
    assert not subscription.ended()
    assert subscription.idle


def test_channels_of_a_cluster_have_commands_of_their_own() -> None:
    subscription = ChannelSubscription(b"c")
    assert subscription.subscribe(sharded=True)[0] == "SSUBSCRIBE"
    assert subscription.unsubscribe(sharded=True)[0] == "SUNSUBSCRIBE"


def test_an_end_that_was_asked_for_is_told_from_the_server_s_own() -> None:
    subscription = subscribed()
    subscription.unsubscribe(sharded=True)
    subscription.subscribe(sharded=True)
    assert not subscription.ended()
    assert subscription.confirmed()
    assert subscription.ended()


def test_a_confirmation_that_nobody_waits_for_confirms_nothing() -> None:
    subscription = subscribed()
    assert not subscription.confirmed()
    subscription.unsubscribe(sharded=False)
    assert not subscription.confirmed()
    assert not subscription.subscribed


def test_a_refusal_as_moved_concerns_what_is_not_confirmed() -> None:
    kept, asked = subscribed(), ChannelSubscription(b"d")
    asked.subscribe(sharded=True)
    for each in (kept, asked):
        each.moved()
    assert (kept.state, asked.state) == (ChannelState.SUBSCRIBED, ChannelState.UNSUBSCRIBED)


def test_of_a_lost_connection_nothing_is_confirmed_any_more() -> None:
    subscription = subscribed()
    subscription.unsubscribe(sharded=False)
    subscription.lost()
    assert subscription.idle
    subscription.subscribe(sharded=False)
    subscription.confirmed()
    assert subscription.ended()


class Line:
    """A connection by which the test is the server."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.replies: asyncio.Queue[object] = asyncio.Queue()

    async def send(self, commands: Iterable[Command]) -> None:
        self.sent += commands

    async def receive(self) -> Reply:
        reply = await self.replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply


class Listener:
    """Wants what the test says."""

    def __init__(self) -> None:
        self.wanted: list[Command] = []
        self.pushes: list[Reply] = []
        self.checks = self.moves = 0

    def changes(self, now: float) -> list[Command]:
        wanted, self.wanted = self.wanted, []
        return wanted

    def check(self) -> None:
        self.checks += 1

    def push(self, push: Reply) -> None:
        self.pushes.append(push)

    def moved(self) -> None:
        self.moves += 1


class Scene:
    """One connection that is served on a virtual clock."""

    def __init__(self) -> None:
        self.line, self.listener, self.changed = Line(), Listener(), asyncio.Event()
        connection = PushConnection(
            self.line,  # type: ignore[arg-type]
            self.listener,
            changed=self.changed,
            beat_seconds=1,
            silence_seconds=3,
        )
        self.task = asyncio.create_task(connection.serve())

    async def error(self) -> str:
        with pytest.raises(ExceptionGroup) as caught:
            await self.task
        (error,) = caught.value.exceptions
        assert isinstance(error, Unavailable)
        return str(error)


def run(scenario: Any) -> None:
    async def begin() -> None:
        scene = Scene()
        await scenario(scene)
        scene.task.cancel()
        await asyncio.wait([scene.task])

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(begin())


def test_a_wish_is_asked_for_at_once_and_pushes_are_handed_on() -> None:
    async def scenario(scene: Scene) -> None:
        await asyncio.sleep(0.1)
        scene.listener.wanted = [("SUBSCRIBE", b"c")]
        scene.changed.set()
        await asyncio.sleep(0.1)
        assert scene.line.sent == [("SUBSCRIBE", b"c")]
        scene.line.replies.put_nowait([b"subscribe", b"c", 1])
        scene.line.replies.put_nowait(b"PONG")
        await asyncio.sleep(0.1)
        assert scene.listener.pushes == [[b"subscribe", b"c", 1]]

    run(scenario)


def test_silence_is_a_loss_and_any_word_is_none() -> None:
    async def scenario(scene: Scene) -> None:
        for _ in range(10):
            await asyncio.sleep(1)
            scene.line.replies.put_nowait(b"PONG")
        assert not scene.task.done()
        assert scene.line.sent.count(("PING",)) == scene.listener.checks >= 9
        assert await scene.error() == "Redis said nothing for 3 s"

    run(scenario)


def test_a_move_is_told_and_another_refusal_ends_the_connection() -> None:
    async def scenario(scene: Scene) -> None:
        scene.line.replies.put_nowait(Moved("1 there", "MOVED"))
        await asyncio.sleep(0.1)
        assert scene.listener.moves == 1
        scene.line.replies.put_nowait(CommandRefused("not allowed", "NOPERM"))
        assert await scene.error() == "Redis refuses to be listened to: not allowed"

    run(scenario)


def test_what_the_listener_finds_wrong_ends_the_connection() -> None:
    async def scenario(scene: Scene) -> None:
        def check() -> None:
            raise RedisUnavailable("nothing comes back")

        scene.listener.check = check  # type: ignore[method-assign]
        assert await scene.error() == "nothing comes back"

    run(scenario)
