from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.core.cluster.control import ForgetStream
from gateway.core.messages.commands import Start, StartKind
from gateway.core.session.close_codes import CloseCode
from gateway.errors import StreamUnavailable
from tests.unit.engine.following_world import World, world

if TYPE_CHECKING:
    from gateway.core.streams.pages import Page

EARLIEST = Start(StartKind.EARLIEST)


def watched(node: World) -> dict[str, int]:
    """Count the store's reads for readers, and how many there are at once."""
    read, counts = node.store.read, {"now": 0, "most": 0, "failures": 0, "reads": 0}

    async def counted(stream: str, after: int, *, messages: int, size: int = 0, wait: float = 0.0) -> Page:
        if wait:
            return await read(stream, after, messages=messages, wait=wait)
        counts["now"] += 1
        counts["reads"] += 1
        counts["most"] = max(counts["most"], counts["now"])
        try:
            await asyncio.sleep(0)
            if counts["failures"]:
                counts["failures"] -= 1
                raise StreamUnavailable("away")
            return await read(stream, after, messages=messages)
        finally:
            counts["now"] -= 1

    node.store.read = counted
    return counts


async def test_reads_in_flight_are_bounded() -> None:
    async with world(reads=3, window_messages=1) as node:
        counts = watched(node)
        node.append(60)
        clients = [node.client() for _ in range(20)]
        starts = [Start(StartKind.OFFSET, number + 1) for number in range(20)]
        await asyncio.gather(
            *(client.subscribe("s/#", start) for client, start in zip(clients, starts, strict=True))
        )
        for number, client in enumerate(clients):
            assert await client.ids(60 - number) == [f"s{each}" for each in range(number + 1, 61)]
        assert 1 <= counts["most"] <= 3
        # A turn may end between a reader's last message and its joining the live path.
        await clients[0].until(lambda: node.following.catching_up.statistics().caught_up == 20)
        statistics = node.following.catching_up.statistics()
        assert (statistics.ready, statistics.reading) == (0, 0)


async def test_a_read_that_fails_is_only_a_delay() -> None:
    async with world(window_messages=1) as node:
        counts = watched(node)
        node.append(20)
        counts["failures"] = 2
        client = node.client()
        await client.subscribe("s/#", EARLIEST)
        assert len(await client.ids(20)) == 20
        assert node.following.catching_up.statistics().failed == 2


async def test_nothing_is_held_for_a_reader_that_takes_nothing() -> None:
    async with world(window_messages=1) as node:
        node.append(50)
        client = node.client()
        await client.subscribe("s/#", EARLIEST)
        node.hub.block(client.outbox, 0, now=0.0)
        await client.until(lambda: node.hub.has_parked(client.outbox))
        got = len(client.messages())
        node.append(50)
        await client.until(lambda: node.following.catching_up.statistics().reading == 0)
        assert (len(client.messages()), client.outbox.waiting_bytes) == (got, 0)
        node.delivery.resume(client.outbox)
        assert await client.ids(100) == [f"s{number}" for number in range(1, 101)]


async def test_a_reader_whose_connection_ends_is_let_go() -> None:
    async with world(window_messages=1) as node:
        node.append(50)
        client = node.client()
        await client.subscribe("s/#", EARLIEST)
        node.subscriber.end(client.outbox)
        await client.until(lambda: node.following.catching_up.statistics().reading == 0)
        await client.until(lambda: node.following.catching_up.statistics().ready == 0)
        assert node.following.catching_up.statistics().caught_up == 0


async def test_a_live_subscription_does_not_wait_for_one_that_reads() -> None:
    async with world(window_messages=1) as node:
        node.append(500)
        client = node.client()
        await client.subscribe("s/#")
        await client.subscribe("s/a", EARLIEST)
        node.append(1)
        await client.until(lambda: any("filter" not in frame for frame in client.messages()))
        await client.until(client.other)
        history = [frame["id"] for frame in client.messages() if "filter" in frame]
        live = [frame["id"] for frame in client.messages() if "filter" not in frame]
        assert live == ["s501"]
        assert history == [f"s{number}" for number in range(1, 502)]


async def test_a_read_that_fails_for_an_unknown_reason_is_only_a_delay() -> None:
    async with world(reads=1, window_messages=1) as node:
        read, failures = node.store.read, 2

        async def failing(stream: str, after: int, *, wait: float = 0.0, **options: Any) -> Page:
            nonlocal failures
            if not wait and failures:
                failures -= 1
                raise ZeroDivisionError
            return await read(stream, after, wait=wait, **options)

        node.append(5)
        client = node.client()
        node.store.read = failing
        await client.subscribe("s/#", EARLIEST)
        assert await client.ids(5) == ["s1", "s2", "s3", "s4", "s5"]
        assert node.following.background.supervision.statistics() == {"catch_up": 2}


async def test_a_reader_that_cannot_be_served_is_sent_away_and_the_others_go_on() -> None:
    async with world() as node:
        node.append(5)
        one, other = node.client(), node.client()

        step = node.following.catching_up._step

        def failing(reader: Any) -> None:
            if reader.outbox is one.outbox:
                raise ZeroDivisionError
            step(reader)

        node.following.catching_up._step = failing
        await one.subscribe("s/#", EARLIEST)
        await other.subscribe("s/#", EARLIEST)
        assert len(await other.ids(5)) == 5
        assert one.code == CloseCode.INTERNAL
        assert node.following.background.supervision.statistics() == {"catch_up": 1}


def unreadable(node: World, broken: str) -> dict[str, int]:
    """Readers' reads of one stream fail from now on, until ``failing`` is 0; its tail goes on."""
    read, counts = node.store.read, {"failing": 1, "asked": 0, "now": 0, "most": 0}

    async def partly(stream: str, after: int, *, messages: int, size: int = 0, wait: float = 0.0) -> Page:
        if stream != broken or wait or not counts["failing"]:
            return await read(stream, after, messages=messages, wait=wait)
        counts["asked"] += 1
        counts["now"] += 1
        counts["most"] = max(counts["most"], counts["now"])
        try:
            await asyncio.sleep(0.001)
        finally:
            counts["now"] -= 1
        raise StreamUnavailable("broken")

    node.store.read = partly
    return counts


async def test_a_stream_that_cannot_be_read_keeps_no_place_from_others() -> None:
    async with world("s", "t", reads=2, window_messages=1) as node:
        node.append(40)
        node.append(40, "t/a")
        counts = unreadable(node, "s")
        stuck = [node.client() for _ in range(20)]
        for number, client in enumerate(stuck, start=1):
            await client.subscribe("s/#", Start(StartKind.OFFSET, number))
        await stuck[0].until(lambda: counts["asked"] >= 4)
        other = node.client()
        await other.subscribe("t/#", EARLIEST)
        assert await other.ids(40) == [f"t{number}" for number in range(1, 41)]
        assert node.following.catching_up.statistics().reading == 20
        before = counts["asked"]
        counts["most"] = counts["now"]
        await stuck[0].until(lambda: counts["asked"] > before)
        assert counts["most"] == 1, "asked one question at a time"
        counts["failing"] = 0
        for number, client in enumerate(stuck, start=1):
            assert (await client.ids(41 - number))[0] == f"s{number}"
        await stuck[0].until(lambda: node.following.catching_up.statistics().reading == 0)


async def test_what_nobody_waits_for_any_more_is_not_asked_for() -> None:
    async with world(reads=2, window_messages=1) as node:
        node.append(40)
        counts = unreadable(node, "s")
        clients = [node.client() for _ in range(20)]
        for number, client in enumerate(clients, start=1):
            await client.subscribe("s/#", Start(StartKind.OFFSET, number))
        await clients[0].until(lambda: counts["asked"] >= 4)
        for client in clients:
            node.subscriber.end(client.outbox)
        await clients[0].until(lambda: node.following.catching_up.statistics().reading == 0)
        assert node.following.catching_up._fetches._failing == {}
        assert node.following.catching_up._fetches.awaited == {}
        assert node.following.catching_up._fetches._running == 0


async def test_history_with_holes_is_told_and_passed() -> None:
    async with world(window_messages=1) as node:
        node.append(30)
        for offset in (2, 15, 16, 30):
            node.store.logs["s"].remove(offset)
        client = node.client()
        await client.subscribe("s/#", EARLIEST)
        await client.until(lambda: any(each["op"] == "caught_up" for each in client.frames))
        assert [(each["from"], each["to"]) for each in client.other()[:-1]] == [(2, 2), (15, 16), (30, 30)]
        assert len(client.messages()) == 26


async def test_what_was_read_of_a_stream_before_it_was_forgotten_is_read_anew() -> None:
    """Pages that are kept, those that are being read, and what the window holds: nobody is given them."""
    async with world(window_messages=100) as node:
        node.append(30)
        first = node.client()
        await first.subscribe("s/#", EARLIEST)
        assert len(await first.ids(30)) == 30
        counts = watched(node)
        read, held = node.store.read, asyncio.Event()

        async def slow(stream: str, after: int, *, messages: int, size: int = 0, wait: float = 0.0) -> Page:
            page = await read(stream, after, messages=messages, size=size, wait=wait)
            if not wait:
                await held.wait()
            return page

        node.store.read = slow
        waiting, late = node.client(), node.client()
        await waiting.subscribe("s/#", Start(StartKind.OFFSET, 2))
        await waiting.until(lambda: node.following.catching_up.statistics().reading > 0 or waiting.messages())
        node.following.forget(ForgetStream("s"))
        before = counts["reads"]
        held.set()
        await late.subscribe("s/#", Start(StartKind.OFFSET, 20))
        assert len(await late.ids(11)) == 11
        assert len(await waiting.ids(29)) == 29
        assert counts["reads"] > before
