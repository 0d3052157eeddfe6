"""The Python client's views of last values: against a scripted peer, and gateways that are killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import Backoff, Client, CommandTimeout, Gap, Message, State
from gateway.errors import Conflict, TooMany
from tests.patience import HANG_SECONDS

from .scripted_peer import Peer, scripted_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.integration.conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.05)
FILTER = "orders/+/status"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with scripted_peer() as peer:
        yield peer


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
def gateway(gateway_process: StartGateway, database: Path) -> RunningGateway:
    return gateway_process(f"""
[limits]
commands_per_second = 0
[store]
url = "sqlite:{database}"
[[streams]]
name = "orders"
filter = "orders/#"
max_messages = 20
last_values = true
[[streams]]
name = "devices"
filter = "devices/#"
last_values = true
[[streams]]
name = "log"
filter = "log/#"
""")


def shown(state: State) -> dict[str, Any]:
    return {topic: message.data for topic, message in state.items()}


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - of a view that tells no event of its own
            await anyio.sleep(0.01)


async def publish(client: Client, values: dict[str, Any]) -> None:
    for topic, value in values.items():
        if value is None:
            await client.delete(topic)
        else:
            await client.publish(topic, value)


async def test_a_mapping_of_what_there_is_follows_what_comes(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client:
        await publish(client, {f"orders/{number}/status": number for number in range(50)})
        await publish(client, {"orders/7/status": None, "orders/7/other": "not matched"})
        async with client.state(FILTER, timeout=HANG_SECONDS) as state:
            assert shown(state) == {f"orders/{number}/status": number for number in range(50) if number != 7}
            assert (len(state), state["orders/3/status"].data, state.stale) == (49, 3, False)
            assert isinstance(state["orders/3/status"], Message)
            assert ("orders/7/status" in state, state.get("orders/7/status")) == (False, None)
            assert state.positions["orders"]["offset"] == 52
            assert set(state.positions) == {"orders"}
            changes = aiter(state)
            await publish(client, {"orders/3/status": "new", "orders/4/status": None})
            first, second = await anext(changes), await anext(changes)
            assert (first.topic, first.old and first.old.data, first.new and first.new.data) == (
                "orders/3/status",
                3,
                "new",
            )
            assert (second.topic, second.deleted, second.merged) == ("orders/4/status", True, 0)
            assert state.positions["orders"]["offset"] == 54
        assert state.stale
        assert len(state) == 48
        # The filter is free again.
        async with client.subscribe(FILTER):
            pass


async def test_several_streams_with_and_without_last_values_and_live_topics(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client:
        await publish(client, {"orders/1": 1, "devices/1": 1, "log/1": 1, "live/1": 1})
        async with client.state("#") as state:
            assert shown(state) == {"orders/1": 1, "devices/1": 1}
            await publish(client, {"orders/1": 2, "devices/2": 2, "log/2": 2, "live/2": 2})
            expected = {"orders/1": 2, "devices/1": 1, "devices/2": 2, "log/2": 2, "live/2": 2}
            await until(lambda: shown(state) == expected)
            assert set(state.positions) == {"orders", "devices", "log"}


async def test_a_view_goes_on_over_gateways_that_are_killed_while_publishers_go_on(
    gateway: RunningGateway,
) -> None:
    final: dict[str, Any] = {}

    async def publish_for_long() -> None:
        async with Client(gateway.url, backoff=QUICK, timeout=3 * HANG_SECONDS) as publisher:
            for number in range(400):
                topic = f"orders/{number * 7 % 11}/status"
                if number % 5 == 4:
                    await publisher.delete(topic, idempotency_key=f"{number}")
                    final.pop(topic, None)
                else:
                    await publisher.publish(topic, number, idempotency_key=f"{number}")
                    final[topic] = number
            await publisher.publish("orders/end/status", "end")
            final["orders/end/status"] = "end"

    async with (
        Client(gateway.url, backoff=QUICK) as client,
        client.state(FILTER) as state,
    ):
        followed, count = shown(state), 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish_for_long)
            with anyio.fail_after(6 * HANG_SECONDS):  # a gateway is started twice
                async for change in state:
                    assert followed.pop(change.topic, None) == (change.old and change.old.data)
                    if change.new is not None:
                        followed[change.topic] = change.new.data
                    count += 1
                    if count in {60, 150}:
                        gateway.kill()
                        gateway.start()
                    if change.topic == "orders/end/status":
                        break
        assert shown(state) == followed == final
    assert client.statistics().connects == 3


async def test_a_new_epoch_is_a_new_view_and_its_differences_are_changes(
    gateway: RunningGateway, database: Path
) -> None:
    async with Client(gateway.url) as client:
        await publish(client, {"orders/1/status": "kept", "orders/2/status": "old"})
    gateway.stop()
    copy = database.with_name("copy.db")
    shutil.copy(database, copy)
    gateway.start()
    async with Client(gateway.url, backoff=QUICK) as client:
        await publish(client, {"orders/2/status": "lost", "orders/3/status": "lost"})
        async with client.state(FILTER) as state:
            epoch = state.positions["orders"]["epoch"]
            assert len(state) == 3
            changes = aiter(state)
            gateway.kill()
            for file in database.parent.glob("streams.db*"):
                if file.suffix in {".db", ".db-wal", ".db-shm"}:
                    file.unlink()
            shutil.copy(copy, database)
            assert len(state) == 3
            gateway.start()
            with anyio.fail_after(HANG_SECONDS):
                got = [await anext(changes) for _ in range(2)]
            assert [(each.topic, each.new and each.new.data) for each in got] == [
                ("orders/2/status", "old"),
                ("orders/3/status", None),
            ]
            assert shown(state) == {"orders/1/status": "kept", "orders/2/status": "old"}
            assert not state.stale
            assert state.positions["orders"]["epoch"] != epoch


async def test_a_snapshot_is_asked_for_again_on_the_same_connection_while_publishers_go_on(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.client.state._BEGIN_ANEW", QUICK)
    final = {f"orders/{number}/status": 100 + number for number in range(20)}
    async with Client(gateway.url) as client, Client(gateway.url) as publisher:
        await publish(publisher, dict.fromkeys(final, 0) | {"orders/x/status": 0})
        async with client.state(FILTER) as state:
            followed, changes = shown(state), aiter(state)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publish, publisher, final | {"orders/x/status": None})
                for _ in range(3):
                    # As though the gateway had told it: what really is lost is hard to have at will.
                    state._feed.put(Gap("trimmed", FILTER, stream="orders"))
                    assert state.stale
                    await until(lambda: not state.stale)
            await until(lambda: shown(state) == final)
            assert client.statistics().connects == 1
            while followed != final:
                change = await anext(changes)
                assert followed.pop(change.topic, None) == (change.old and change.old.data)
                if change.new is not None:
                    followed[change.topic] = change.new.data


async def test_too_many_topics_are_told_on_entering_and_while_following(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client:
        await publish(client, {f"orders/{number}/status": number for number in range(3)})
        with pytest.raises(TooMany, match="max_topics=2"):
            await client.state(FILTER, max_topics=2).__aenter__()
        async with client.state(FILTER, max_topics=3) as state:
            await publish(client, {"orders/9/status": 9})
            with pytest.raises(TooMany), anyio.fail_after(HANG_SECONDS):
                await anext(aiter(state))
            assert (len(state), state.stale) == (3, True)


async def snapshot(peer: Peer, *values: int, offset: int, epoch: str = "e1") -> None:
    """A snapshot of topics named by their values, without ``caught_up``."""
    for value in values:
        await peer.send(
            op="message",
            filter="a/#",
            snapshot=True,
            topic=f"a/{value}",
            id="1",
            time=0,
            stream="s",
            offset=value,
            data=value,
        )


def begins_at(peer: Peer, offset: int, *, epoch: str = "e1", recovered: bool | None = None) -> None:
    async def answer(command: dict[str, Any]) -> bool:
        if command["op"] != "subscribe":
            return False
        positions = {"s": {"epoch": epoch, "offset": offset}}
        named = {"filter": command["filter"], "ref": command["ref"]}
        await peer.send(op="subscribed", positions=positions, recovered=recovered, **named)
        return True

    peer.answer = answer


async def test_entering_waits_for_the_whole_and_no_longer_than_asked(peer: Peer) -> None:
    begins_at(peer, 5)
    async with Client(peer.url, backoff=QUICK) as client:
        state = client.state("a/#", timeout=1.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.until, lambda: (1, "subscribe") in peer.ops())
            with pytest.raises(CommandTimeout, match="state of 'a/#'"):
                await state.__aenter__()
        assert len(state) == 0
        async with client.subscribe("a/#"):  # it was left
            with pytest.raises(Conflict):
                await client.state("a/#").__aenter__()


async def test_a_purged_gap_has_the_old_view_shown_until_the_new_one_is_whole(peer: Peer) -> None:
    begins_at(peer, 5)
    async with Client(peer.url, backoff=QUICK) as client, anyio.create_task_group() as tasks:

        async def first() -> None:
            await peer.until(lambda: (1, "subscribe") in peer.ops())
            await snapshot(peer, 1, 2, offset=5)
            await peer.send(op="caught_up", filter="a/#")

        tasks.start_soon(first)
        async with client.state("a/#", timeout=HANG_SECONDS) as state:
            assert sorted(state) == ["a/1", "a/2"]
            assert state.positions == {"s": {"epoch": "e1", "offset": 5}}
            begins_at(peer, 7)
            gap = {"stream": "s", "from": 6, "to": 6, "dropped": 1}
            await peer.send(op="gap", reason="purged", filter="a/#", **gap)
            with anyio.fail_after(HANG_SECONDS):
                await peer.until(lambda: peer.ops().count((1, "subscribe")) == 2)
            again = [command for command in peer.commands if command["op"] == "subscribe"][1]
            assert (again["from"], "resume" in again) == ("snapshot", False)
            await snapshot(peer, 2, 3, offset=7)
            await client.ping()
            assert (sorted(state), state.stale) == (["a/1", "a/2"], True)
            changes = aiter(state)
            await peer.send(op="caught_up", filter="a/#")
            got = [await anext(changes) for _ in range(2)]
            assert [(each.topic, each.deleted) for each in got] == [("a/3", False), ("a/1", True)]
            assert (sorted(state), state.stale) == (["a/2", "a/3"], False)
            assert state.positions == {"s": {"epoch": "e1", "offset": 7}}
