"""What many nodes do while they have no Redis: refuse in time, idle, and come back by themselves."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING

import httpx2
from websockets.asyncio.client import connect

from gateway.bus.redis.partitions import partition_of
from tests.integration.history import ANSWER_SECONDS
from tests.patience import HANG_SECONDS, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.conftest import RunningGateway

RECOVERY_SECONDS = PATIENCE * (2.0 + 1.5)  # the longest wait, and a connection's time


LIMITS = """
[limits]
commands_per_second = 0
outbox_messages = 100_000
outbox_bytes = "64MiB"
"""
"""None of the tests is about a client that reads slowly, as the test itself may on a busy machine."""


PATIENT_REDIS = f"""
timeout = "{HANG_SECONDS}s"
silence_timeout = "{2 * HANG_SECONDS}s"
[store]
timeout = "{HANG_SECONDS}s"
"""
"""The rest of ``[redis]`` where no test is about a Redis that takes its time: a busy machine's does."""


def settings_for(url: str, *, redis: str = "") -> str:
    return f'[redis]\nurl = "{url}"\n{redis}{LIMITS}'


async def status(node: RunningGateway) -> str:
    async with httpx2.AsyncClient() as http:
        answer = await http.get(f"{node.url}/readyz", timeout=HANG_SECONDS)
    assert answer.status_code == 200
    return str(answer.json()["status"])


async def until_status(node: RunningGateway, wanted: str, seconds: float = HANG_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while await status(node) != wanted:  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.02)


def partition_channel(topic: str) -> str:
    """The channel in Redis by which ``topic`` travels."""
    return f"gateway:live:{partition_of(topic, 64)}"


async def assert_unavailable(node: RunningGateway, filters: Sequence[str] = ("#", "new/topic")) -> None:
    """Publishing to ``red/x`` and subscribing are refused in time, and say when to come back.

    Of the filters by default, one is a node's whose clients wait already, and one is new to it.
    """
    async with httpx2.AsyncClient() as http:
        began = time.monotonic()
        answer = await http.post(f"{node.url}/v1/topics/red/x", content=b"1", timeout=HANG_SECONDS)
        assert time.monotonic() - began < ANSWER_SECONDS
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    async with connect(node.ws_url) as websocket:
        await websocket.recv()
        for topic_filter in filters:
            began = time.monotonic()
            await websocket.send(json.dumps({"op": "subscribe", "filter": topic_filter, "ref": 1}))
            reply = json.loads(await websocket.recv())
            assert (reply["op"], reply["code"]) == ("error", "unavailable")
            assert time.monotonic() - began < ANSWER_SECONDS


def cpu_seconds(node: RunningGateway) -> float:
    with open(f"/proc/{node.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
