"""Failovers that keep most of a stream: who is subscribed gets what is new, and nothing again that it had."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import httpx2
from anyio import to_thread
from websockets.asyncio.client import connect

from tests.integration.scripted_sentinel import scripted_sentinel
from tests.patience import HANG_SECONDS
from tests.redis_process import redis_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

STREAM = '[limits]\ncommands_per_second = 0\n[[streams]]\nname = "orders"\nfilter = "orders/#"\n'


class Subscriber:
    """One connection: what came, in order."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    @property
    def data(self) -> list[Any]:
        return [each["data"] for each in self.frames if each["op"] == "message"]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return [each for each in self.frames if each["op"] == "gap"]

    @property
    def subscribed(self) -> dict[str, Any]:
        return next(each for each in self.frames if each["op"] == "subscribed")

    async def has(self, *data: Any) -> None:
        """Wait for these, in this order, and nothing else."""
        await until(lambda: len(self.data) >= len(data))
        assert self.data == list(data)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - frames and answers come from other processes
            await asyncio.sleep(0.01)


@asynccontextmanager
async def subscriber(node: RunningGateway, **command: Any) -> AsyncIterator[Subscriber]:
    async with connect(node.ws_url) as websocket:
        made = Subscriber()

        async def read() -> None:
            async for text in websocket:
                made.frames.append(json.loads(text))

        reading = asyncio.create_task(read())
        await websocket.send(json.dumps({"op": "subscribe", "filter": "orders/#"} | command))
        await until(lambda: any(each["op"] == "subscribed" for each in made.frames))
        try:
            yield made
        finally:
            reading.cancel()


async def publish(node: RunningGateway, *data: int) -> list[int]:
    """Publish until it is answered, each with a key; return the offsets."""
    offsets = []
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http, asyncio.timeout(HANG_SECONDS):
        for each in data:
            key = {"Idempotency-Key": str(each)}
            while True:
                answer = await http.post(f"{node.url}/v1/topics/orders/a", json=each, headers=key)
                if answer.status_code == 201:
                    break
                await asyncio.sleep(0.02)
            offsets.append(answer.json()["offset"])
    return offsets


async def check_resumed(node: RunningGateway, former: dict[str, Any], gap: dict[str, Any]) -> None:
    """What the gap told is good for coming back with; a position of the former life is answered as ever."""
    told = {"orders": {"epoch": gap["epoch"], "offset": gap["offset"]}}
    async with subscriber(node, resume=told) as back:
        assert (back.subscribed["recovered"], back.subscribed["positions"]) == (True, told)
        await back.has(100, 101)
        assert back.gaps == []
    async with subscriber(node, resume=former) as late:
        assert late.subscribed["recovered"] is False
        await late.has(*range(gap["offset"]), 100, 101)
        assert [(each["reason"], each["epoch"], each["offset"]) for each in late.gaps] == [
            ("epoch", gap["epoch"], 0)
        ]


def all_there(replica: RunningRedis, count: int) -> bool:
    keys: list[str] = replica.call("KEYS", "*:stream:orders}:log")  # type: ignore[assignment]
    return bool(keys) and replica.call("XLEN", keys[0]) == count


async def test_a_replica_that_was_behind_is_promoted(gateway_process: StartGateway, tmp_path: Path) -> None:
    with (
        redis_servers(tmp_path, ("--repl-diskless-sync-delay", "0"), ()) as (master, replica),
        scripted_sentinel(master.port) as sentinel,
    ):
        replica.call("REPLICAOF", "127.0.0.1", str(master.port))
        settings = f'[redis]\nurl = "{sentinel.url}"\n{STREAM}'
        nodes = [gateway_process(settings) for _ in range(2)]
        await publish(nodes[0], 0, 1)
        async with (
            subscriber(nodes[0]) as one,
            subscriber(nodes[1]) as other,
            subscriber(nodes[1], **{"from": "earliest"}) as reader,
        ):
            former = one.subscribed["positions"]
            await publish(nodes[0], *range(2, 30))
            await one.has(*range(2, 30))
            await until(lambda: all_there(replica, 30))
            # From here on the replica hears no more, and the master is lost with what it has.
            replica.freeze()
            master.call("CLIENT", "KILL", "TYPE", "replica")
            assert await publish(nodes[1], 50, 51, 52) == [31, 32, 33]
            for each, begin in ((one, 2), (other, 2), (reader, 0)):
                await each.has(*range(begin, 30), 50, 51, 52)
            master.kill()
            replica.thaw()
            replica.call("REPLICAOF", "NO", "ONE")
            await to_thread.run_sync(sentinel.switch, replica.port)
            assert await publish(nodes[0], 100, 101) == [31, 32]
            for each, begin in ((one, 2), (other, 2), (reader, 0)):
                await each.has(*range(begin, 30), 50, 51, 52, 100, 101)
                assert [(gap["reason"], gap["offset"]) for gap in each.gaps] == [("epoch", 30)]
            await check_resumed(nodes[1], former, other.gaps[0])


async def test_redis_comes_back_with_an_older_dump(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node = gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAM}')
    async with subscriber(node) as live:
        await publish(node, *range(10))
        redis_server.call("SAVE")
        await publish(node, 50, 51)
        await live.has(*range(10), 50, 51)
        await to_thread.run_sync(redis_server.restart)
        # It is found out by reading, without anything new.
        await until(lambda: bool(live.gaps))
        await publish(node, 100, 101)
        await live.has(*range(10), 50, 51, 100, 101)
        assert [(gap["reason"], gap["offset"]) for gap in live.gaps] == [("epoch", 10)]
        await check_resumed(node, live.subscribed["positions"], live.gaps[0])


async def test_an_old_copy_of_the_file_is_put_back_while_the_process_goes_on(
    gateway_process: StartGateway, tmp_path: Path
) -> None:
    file, copy = tmp_path / "streams.db", tmp_path / "copy.db"
    node = gateway_process(f'[store]\nurl = "sqlite:{file}"\n{STREAM}')
    async with subscriber(node) as live:
        await publish(node, *range(10))
        with closing(sqlite3.connect(file)) as database:
            database.execute("VACUUM INTO ?", (str(copy),))
        await publish(node, 50, 51)
        await live.has(*range(10), 50, 51)
        for each in ("-wal", "-shm"):
            file.with_name(file.name + each).unlink()
        shutil.move(copy, file)
        # The store looks for its file from time to time; what is published before goes with the old one.
        await until(lambda: bool(live.gaps))
        await publish(node, 100, 101)
        await live.has(*range(10), 50, 51, 100, 101)
        assert [(gap["reason"], gap["offset"]) for gap in live.gaps] == [("epoch", 10)]
        await check_resumed(node, live.subscribed["positions"], live.gaps[0])
