"""Publications that somebody has removed, or that are damaged: told, passed, counted, logged once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import httpx2
from anyio import to_thread
from websockets.asyncio.client import ClientConnection, connect

from gateway.engine.following.watched_store import LOG_SECONDS
from tests.patience import HANG_SECONDS

from .outage import until_status
from .raw_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

STREAMS = """
[limits]
commands_per_second = 0
[[streams]]
name = "orders"
filter = "orders/#"
[[streams]]
name = "other"
filter = "other/#"
"""
LOG, META, NEWS = (f"{{gateway:stream:orders}}:{part}" for part in ("log", "meta", "news"))


@asynccontextmanager
async def client(node: RunningGateway) -> AsyncIterator[ClientConnection]:
    async with connect(node.ws_url) as websocket:
        await take(websocket)
        yield websocket


async def take(websocket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(HANG_SECONDS):
        answer: dict[str, Any] = json.loads(await websocket.recv())
        return answer


async def subscribe(websocket: ClientConnection, **how: Any) -> dict[str, Any]:
    await websocket.send(json.dumps({"op": "subscribe", "ref": 1} | how))
    return await take(websocket)


async def history(websocket: ClientConnection) -> list[dict[str, Any]]:
    """All frames up to ``caught_up``."""
    frames = []
    while (frame := await take(websocket))["op"] != "caught_up":
        frames.append(frame)
    return frames


def told(frames: list[dict[str, Any]]) -> list[int | tuple[int, int]]:
    return [frame["offset"] if frame["op"] == "message" else (frame["from"], frame["to"]) for frame in frames]


async def publish(node: RunningGateway, count: int, topic: str = "orders/a") -> None:
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        items = [{"topic": topic, "data": number} for number in range(count)]
        assert (await http.post(f"{node.url}/v1/publish", json=items)).status_code == 200


async def get(node: RunningGateway, path: str) -> Any:
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        return (await http.get(node.url + path)).json()


async def logged_once(node: RunningGateway, began: float) -> None:
    """The log tells of holes, once, and once more at most for what was found long after others."""
    await until(lambda: "has holes" in node.stderr_text())
    assert node.stderr_text().count("has holes") <= 1 + (time.monotonic() - began) // LOG_SECONDS


def append_and_remove(server: RunningRedis, offset: int, *, then: int) -> None:
    """In one step ``offset`` up to ``then`` are appended, and all but ``then`` removed again."""
    script = """
    local entries = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
    -- Without its seal, which holds for its own offset.
    local header = string.match(entries[1][2][2], '^%d+ %d+ %w+')
    local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
    for offset = first, math.max(first, last) do
      redis.call('XADD', KEYS[1], offset .. '-0', 'h', header, 'r', entries[1][2][4])
      if offset ~= last then redis.call('XDEL', KEYS[1], offset .. '-0') end
      redis.call('HSET', KEYS[2], 'last', offset)
      redis.call('PUBLISH', KEYS[3], redis.call('HGET', KEYS[2], 'epoch') .. ' ' .. offset)
    end
    """
    server.call("EVAL", script, "3", LOG, META, NEWS, str(offset), str(then))


async def test_live_subscribers_are_told_of_what_is_removed_before_they_get_it(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node = gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAMS}')
    async with client(node) as live:
        begun = await subscribe(live, filter="orders/#")
        await publish(node, 3)
        assert told([await take(live) for _ in range(3)]) == [1, 2, 3]
        await to_thread.run_sync(lambda: append_and_remove(redis_server, 4, then=6))
        assert told([await take(live) for _ in range(2)]) == [(4, 5), 6]
        # The newest: nothing follows it, and it is told all the same.
        await to_thread.run_sync(lambda: append_and_remove(redis_server, 7, then=0))
        gap = await take(live)
        assert gap == {
            "op": "gap", "reason": "trimmed", "filter": "orders/#", "stream": "orders",
            "from": 7, "to": 7, "dropped": 1,
        }  # fmt: skip
        await publish(node, 2)
        assert told([await take(live) for _ in range(2)]) == [8, 9]
    page = await get(node, "/v1/streams/orders/messages?from=7&wait=9")
    assert page["gap"] == {"reason": "trimmed", "from": 7, "to": 7}
    assert page["epoch"] == begun["positions"]["orders"]["epoch"]
    assert node.metric('gateway_stream_missing_total{stream="orders"}') == 3
    assert await get(node, "/readyz") == {"status": "ready"}


async def test_removing_what_a_node_has_just_seen_begins_no_new_epoch(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node = gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAMS}')
    async with client(node) as live:
        await subscribe(live, filter="orders/#")
        await publish(node, 3)
        assert told([await take(live) for _ in range(3)]) == [1, 2, 3]
        await to_thread.run_sync(redis_server.call, "XDEL", LOG, "3-0")
        await publish(node, 1)
        assert told([await take(live)]) == [4]
    assert node.metric("gateway_store_epochs_raised_total") == 0


async def test_more_holes_than_reads_at_once_stop_nobody(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node = gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAMS}')
    await publish(node, 100)
    await publish(node, 5, "other/a")
    removed = [str(offset) for offset in range(2, 80, 4)]
    await to_thread.run_sync(redis_server.call, "XDEL", LOG, *(f"{offset}-0" for offset in removed))
    node.restart()
    began = time.monotonic()
    epoch = (await get(node, "/v1/streams/orders"))["epoch"]

    async def resume(offset: int) -> None:
        async with client(node) as reading:
            at = {"orders": {"epoch": epoch, "offset": offset - 1}}
            assert (await subscribe(reading, filter="orders/#", resume=at))["recovered"]
            frames = await history(reading)
            assert told(frames)[:2] == [(offset, offset), offset + 1]
            assert frames[-1]["offset"] == 100

    await asyncio.gather(*(resume(int(offset)) for offset in removed))
    async with client(node) as reading:
        await subscribe(reading, filter="other/#", **{"from": "earliest"})
        assert told(await history(reading)) == [1, 2, 3, 4, 5]
    await until(lambda: node.metric("gateway_catch_up_reads") == 0)
    assert node.metric('gateway_stream_missing_total{stream="orders"}') == len(removed)
    await logged_once(node, began)


async def test_entries_of_another_shape_are_told_of_and_passed(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node = gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAMS}')
    await publish(node, 20)
    script = """
    local entries = redis.call('XRANGE', KEYS[1], '-', '+')
    redis.call('DEL', KEYS[1])
    for _, entry in ipairs(entries) do
      local h, r = entry[2][2], entry[2][4]
      local others = {
        ['5-0'] = {'h', h}, ['7-0'] = {'r', r, 'h', h}, ['9-0'] = {'h', h, 'r', r, 'x', 'y'},
        ['11-0'] = {'h', 'zz', 'r', r}, ['13-0'] = {'h', h, 'r', ''}, ['20-0'] = {'h', '', 'r', r},
      }
      redis.call('XADD', KEYS[1], entry[1], unpack(others[entry[1]] or entry[2]))
    end
    """
    await to_thread.run_sync(redis_server.call, "EVAL", script, "1", LOG)
    node.restart()
    began = time.monotonic()
    async with client(node) as reading:
        begun = await subscribe(reading, filter="orders/#", **{"from": "earliest"})
        frames = told(await history(reading))
        assert [each for each in frames if isinstance(each, tuple)] == [
            (offset, offset) for offset in (5, 7, 9, 11, 13, 20)
        ]
        assert len(frames) == 20
        await publish(node, 1)
        assert told([await take(reading)]) == [21]
    page = await get(node, "/v1/streams/orders/messages?from=11")
    assert page["gap"] == {"reason": "trimmed", "from": 11, "to": 11}
    assert page["epoch"] == begun["positions"]["orders"]["epoch"]
    assert node.metric('gateway_stream_missing_total{stream="orders"}') == 6
    assert await get(node, "/readyz") == {"status": "ready"}
    await logged_once(node, began)
    assert "Traceback" not in node.stderr_text()


async def test_damaged_and_missing_rows_are_told_of_and_nothing_false_is_served(
    gateway_process: StartGateway,
) -> None:
    node = gateway_process(STREAMS)
    await publish(node, 40)
    node.stop()
    with closing(sqlite3.connect(node.directory / "data" / "streams.db")) as database:
        for offset in (3, 12, 13, 40):
            database.execute("DELETE FROM log_1 WHERE offset = ?", (offset,))
        (record,) = database.execute("SELECT record FROM log_1 WHERE offset = 20").fetchone()
        changed = record[:-3] + bytes([record[-3] ^ 4]) + record[-2:]
        database.execute("UPDATE log_1 SET record = ? WHERE offset = 20", (changed,))
        database.execute("UPDATE log_1 SET time = time + 1 WHERE offset = 30")
        database.commit()
    node.start()
    began = time.monotonic()
    missing = [3, 12, 13, 20, 30, 40]
    async with client(node) as reading:
        await subscribe(reading, filter="orders/#", **{"from": "earliest"})
        frames = await history(reading)
    assert [frame["offset"] for frame in frames if frame["op"] == "message"] == [
        offset for offset in range(1, 41) if offset not in missing
    ]
    gaps = [(frame["from"], frame["to"]) for frame in frames if frame["op"] == "gap"]
    assert gaps == [(3, 3), (12, 13), (20, 20), (30, 30), (40, 40)]
    at, found, holes = 1, [], []
    while at <= 40:
        page = await get(node, f"/v1/streams/orders/messages?from={at}&wait=9")
        found += [message["offset"] for message in page["messages"]]
        holes += [(page["gap"]["from"], page["gap"]["to"])] if "gap" in page else []
        assert page["next"] > at
        at = page["next"]
    assert (found, holes) == ([offset for offset in range(1, 41) if offset not in missing], gaps)
    assert node.metric('gateway_stream_missing_total{stream="orders"}') == 6
    await logged_once(node, began)


async def test_a_stream_that_cannot_be_read_shows_and_keeps_no_other_from_being_read(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node = gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAMS}')
    await publish(node, 40)
    await publish(node, 5, "other/a")
    async with client(node) as stuck, client(node) as reading:
        await subscribe(stuck, filter="orders/#")
        # In one step: a log that isn't there for a moment has been lost, and begins a new epoch.
        spoil = "redis.call('RENAME', KEYS[1], KEYS[2]) redis.call('SET', KEYS[1], 'no log')"
        await to_thread.run_sync(redis_server.call, "EVAL", spoil, "2", LOG, "aside")
        assert (await get(node, "/v1/streams/orders/messages"))["code"] == "unavailable"
        assert {"stream:orders", "store"} & set((await get(node, "/readyz"))["away"])
        await subscribe(reading, filter="other/#", **{"from": "earliest"})
        assert told(await history(reading)) == [1, 2, 3, 4, 5]
        await to_thread.run_sync(redis_server.call, "RENAME", "aside", LOG)
        assert len((await get(node, "/v1/streams/orders/messages"))["messages"]) == 40
        await until_status(node, "ready")
        await publish(node, 1)
        assert told([await take(stuck)]) == [41]
    assert "Redis refuses reading stream 'orders': WRONGTYPE" in node.stderr_text()
