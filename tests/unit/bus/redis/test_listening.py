"""Listening to partitions: what is wanted is asked for, and what was missed is told once, when it is over."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.bus.redis.interruptible_sleep import InterruptibleSleep
from gateway.bus.redis.listening import LINGER_SECONDS, Partition, PartitionListener
from gateway.core.timing.backoff import Backoff
from gateway.errors import BusUnavailable
from gateway.redis.servers import Address


class Inbox:
    """Notes what it is told of partitions."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.payloads: list[tuple[int, bytes]] = []

    def put(self, partition: int, payload: bytes) -> None:
        self.payloads.append((partition, payload))

    def interrupt(self, partition: int) -> None:
        self.told.append(("interrupt", partition))

    def forget(self, partition: int) -> None:
        self.told.append(("forget", partition))


class Scene:
    """A listener without a connection: the test plays the server."""

    def __init__(self, *, sharded: bool = False) -> None:
        self.inbox = Inbox()
        self.publishing = SimpleNamespace(beats=0)
        self.missed: list[list[int]] = []
        self.relocated = 0
        self.listener = self._listener(SimpleNamespace(sharded=sharded))
        self.partitions = [Partition(number, b"c%d" % number) for number in range(2)]
        for partition in self.partitions:
            self.listener.adopt(partition)

    def _listener(self, servers: Any) -> PartitionListener:
        publishing: Any = self.publishing
        inbox: Any = self.inbox

        def relocate() -> None:
            self.relocated += 1

        return PartitionListener(
            servers,
            Address("h", 1),
            publishing,
            inbox,
            beat_channel=b"beat",
            beat_seconds=1.0,
            silence_seconds=3.0,
            backoff=Backoff(first_seconds=1, limit_seconds=1),
            sleep=InterruptibleSleep(),
            neighbour=InterruptibleSleep(),
            relocate=relocate,
            missed=lambda partitions: self.missed.append(sorted(each.number for each in partitions)),
        )

    def subscribe(self) -> None:
        """Everything is wanted, and confirmed."""
        for partition in self.partitions:
            partition.interests = 1
        self.listener.changes(0)
        for partition in self.partitions:
            self.listener.push([b"subscribe", partition.subscription.channel, 1])


class CountedPartition(Partition):
    """Counts how often anyone looks whether it is subscribed."""

    looks = 0

    @property
    def subscribed(self) -> bool:
        CountedPartition.looks += 1
        return super().subscribed


@pytest.mark.parametrize("count", [64, 4096])
async def test_a_confirmation_costs_the_same_however_many_partitions_are_awaited(count: int) -> None:
    scene = Scene()
    for number in range(2, 2 + count):
        partition = CountedPartition(number, b"c%d" % number)
        scene.partitions.append(partition)
        scene.listener.adopt(partition)
    CountedPartition.looks = 0
    scene.subscribe()
    assert scene.listener.up
    assert CountedPartition.looks <= 10 * count


async def test_what_is_wanted_is_asked_for_once_and_up_when_it_is_all_confirmed() -> None:
    scene = Scene()
    for partition in scene.partitions:
        partition.interests = 1
    waiter = scene.partitions[1].waiter = asyncio.get_running_loop().create_future()
    assert sorted(scene.listener.changes(0)) == [("SUBSCRIBE", b"c0"), ("SUBSCRIBE", b"c1")]
    assert scene.listener.changes(0) == []
    scene.listener.push([b"subscribe", b"c0", 1])
    assert not scene.listener.up
    assert not waiter.done()
    scene.listener.push([b"subscribe", b"c1", 2])
    assert scene.listener.up
    assert waiter.done()


async def test_what_is_published_goes_to_the_inbox() -> None:
    scene = Scene(sharded=True)
    scene.subscribe()
    scene.listener.push([b"smessage", b"c1", b"payload"])
    scene.listener.push([b"smessage", b"foreign", b"payload"])
    scene.listener.push([b"pong", b""])
    assert scene.inbox.payloads == [(1, b"payload")]


async def test_a_partition_is_listened_to_a_while_after_the_last_interest() -> None:
    scene = Scene()
    scene.subscribe()
    scene.partitions[0].interests = 0
    scene.partitions[0].idle_since = 100.0
    assert scene.listener.changes(100.0 + LINGER_SECONDS / 2) == []
    assert scene.listener.changes(100.0 + LINGER_SECONDS) == [("UNSUBSCRIBE", b"c0")]
    assert scene.inbox.told[-1] == ("forget", 0)
    scene.listener.push([b"unsubscribe", b"c0", 1])
    assert scene.relocated == 0
    assert not scene.partitions[0].subscribed


async def test_an_end_by_the_server_is_a_loss_that_is_told_once_it_is_over() -> None:
    scene = Scene(sharded=True)
    scene.subscribe()
    scene.listener.push([b"sunsubscribe", b"c0", 1])
    assert scene.relocated == 1
    assert scene.inbox.told[-1] == ("interrupt", 0)
    assert scene.missed == []
    assert scene.listener.changes(0) == [("SSUBSCRIBE", b"c0")]
    scene.listener.push([b"ssubscribe", b"c0", 2])
    assert scene.missed == [[0]]
    assert scene.listener.changes(0) == []
    assert scene.missed == [[0]]


async def test_nobody_misses_what_nobody_wants() -> None:
    scene = Scene(sharded=True)
    scene.subscribe()
    scene.partitions[0].interests = 0
    scene.listener.push([b"sunsubscribe", b"c0", 1])
    assert scene.inbox.told[-1] == ("forget", 0)
    assert not scene.partitions[0].missed


async def test_a_partition_that_moves_is_asked_for_again() -> None:
    scene = Scene(sharded=True)
    scene.partitions[0].interests = 1
    assert scene.listener.changes(0) == [("SSUBSCRIBE", b"c0")]
    scene.listener.moved()
    assert scene.relocated == 1
    assert scene.listener.changes(0) == [("SSUBSCRIBE", b"c0")]


async def test_a_partition_of_another_server_is_let_go() -> None:
    old, new = Scene(), Scene()
    old.subscribe()
    partition = old.partitions[0]
    new.listener.adopt(partition)
    assert partition not in old.listener.partitions
    assert partition.missed
    assert new.listener.changes(0) == [("SUBSCRIBE", b"c0")]


@pytest.mark.parametrize(("sharded", "seen"), [(False, True), (True, False)])
def test_heartbeats_that_do_not_come_back_end_the_connection(sharded: bool, seen: bool) -> None:
    scene = Scene(sharded=sharded)
    scene.publishing.beats = 4
    if not seen:  # in a cluster there is no channel on which they could
        scene.listener.check()
        return
    with pytest.raises(BusUnavailable, match="arrive"):
        scene.listener.check()
    scene.listener.push([b"message", b"beat", b""])
    scene.listener.check()


async def test_a_waiter_is_failed_once() -> None:
    partition = Partition(0, b"c")
    waiter = partition.waiter = asyncio.get_running_loop().create_future()
    partition.fail_waiter(waiter)
    with pytest.raises(BusUnavailable, match="does not confirm"):
        waiter.result()
    assert partition.waiter is None
    partition.fail_waiter(waiter)
