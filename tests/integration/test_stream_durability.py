"""Kill -9 in the middle of publishing: what was answered 201 is there, under the offset that was answered."""

from __future__ import annotations

import itertools
import json
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
from anyio import to_thread
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import RunningGateway, StartGateway

SETTINGS = """
[limits]
commands_per_second = 0

[[streams]]
name = "kept"
filter = "kept/#"
"""
PUBLISHES = 10_000
KILLS = 3
BATCH = 25
IN_FLIGHT = 50


@dataclass
class Ledger:
    """What was published, each under a label of its own, and what was answered.

    Attributes:
        offsets: by label, of those answered.
        refused: labels that were answered with an error.
    """

    numbers: itertools.count[int] = field(default_factory=itertools.count)
    offsets: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def items(self, count: int) -> list[dict[str, Any]]:
        numbers = itertools.islice(self.numbers, count)
        return [{"topic": f"kept/{number % 7}", "id": f"m{number}", "data": number} for number in numbers]

    def note(self, label: str, answer: dict[str, Any]) -> None:
        if "offset" not in answer:
            self.refused.add(label)
            return
        assert label not in self.offsets
        self.offsets[label] = answer["offset"]


async def over_http(gateway: RunningGateway, ledger: Ledger, enough: Callable[[], bool]) -> None:
    """Publish arrays, one after the other, until enough was answered or the node is gone."""
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=HANG_SECONDS) as client:
        while not enough():
            items = ledger.items(BATCH)
            try:
                response = await client.post("/v1/publish", json=items)
            except httpx2.TransportError:
                return
            for item, result in zip(items, response.json()["results"], strict=True):
                ledger.note(item["id"], result)


async def over_a_websocket(gateway: RunningGateway, ledger: Ledger, enough: Callable[[], bool]) -> None:
    """Publish with many answers outstanding, until enough was answered or the node is gone."""
    try:
        async with connect(gateway.ws_url) as socket:
            await socket.recv()
            outstanding = 0
            while outstanding or not enough():
                if outstanding < IN_FLIGHT and not enough():
                    [item] = ledger.items(1)
                    await socket.send(json.dumps(item | {"op": "publish", "ref": item["id"]}))
                    outstanding += 1
                    continue
                answer = json.loads(await socket.recv())
                ledger.note(answer["ref"], answer)
                outstanding -= 1
    except (OSError, WebSocketException):
        return


async def publish_until(gateway: RunningGateway, ledger: Ledger, answered: int, *, kill: bool) -> None:
    def enough() -> bool:
        return len(ledger.offsets) >= answered

    async def kill_in_the_middle() -> None:
        while not enough():  # noqa: ASYNC110 - it is others that count
            await anyio.sleep(0.001)
        gateway.kill()

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(over_http, gateway, ledger, (lambda: False) if kill else enough)
            tasks.start_soon(over_a_websocket, gateway, ledger, (lambda: False) if kill else enough)
        if kill:
            tasks.start_soon(kill_in_the_middle)


def read_all(gateway: RunningGateway) -> tuple[set[str], list[dict[str, Any]]]:
    """Every message that the stream holds, page by page, and every epoch that was told."""
    messages: list[dict[str, Any]] = []
    epochs, path = set(), "/v1/streams/kept/messages?limit=1000"
    while True:
        with urllib.request.urlopen(gateway.url + path, timeout=HANG_SECONDS) as response:
            page = json.load(response)
        epochs.add(page["epoch"])
        assert "gap" not in page
        messages += page["messages"]
        if page["next"] > page["last"]:
            return epochs, messages
        path = f"/v1/streams/kept/messages?limit=1000&from={page['next']}&epoch={page['epoch']}"


async def test_what_was_answered_outlives_kills_in_the_middle(gateway_process: StartGateway) -> None:
    gateway = gateway_process(SETTINGS)
    ledger = Ledger()
    with anyio.fail_after(120):
        for round_ in range(1, KILLS + 1):
            await publish_until(gateway, ledger, round_ * PUBLISHES // (KILLS + 1), kill=True)
            await to_thread.run_sync(gateway.start)
        await publish_until(gateway, ledger, PUBLISHES, kill=False)
    epochs, messages = await to_thread.run_sync(read_all, gateway)
    assert len(epochs) == 1
    assert [message["offset"] for message in messages] == list(range(1, len(messages) + 1))
    stored = {message["id"]: message for message in messages}
    assert len(stored) == len(messages), "nothing is stored twice"
    wrong = {
        label: offset
        for label, offset in ledger.offsets.items()
        if label not in stored or stored[label]["offset"] != offset
    }
    assert wrong == {}
    assert all(label == f"m{message['data']}" for label, message in stored.items())
    assert len(ledger.offsets) >= PUBLISHES
    assert ledger.refused == set()
