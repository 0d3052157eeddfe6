"""A member of a group that a test kills or pauses: ``python -m tests.integration.queue_member DOOR URL…``.

It says on standard output what it does and what came of that, a line each (``WORD OFFSET FENCE NUMBER MS``),
before it does it, so that nothing is done in silence: ``took`` (its number is the attempt, its time the
deadline), ``acking``, ``acked``, ``nacking``, ``extended`` (the time is the new deadline), ``stale``,
``unknown`` (there was no answer) and ``cut`` (its connection ended, with all that it had).

What it does with a publication follows from the offset and the attempt, so that every step comes about.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from itertools import cycle
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

STREAM, GROUP = "s", "g"
CREDIT = 6
ACK_WAIT = 0.6
MAX_DELIVER = 4
KINDS = 12
"""What becomes of an offset is told by its remainder."""

POISON, FORGOTTEN, LATE, EXTENDED = 0, 1, 2, 3
"""Always rejected; at first never answered; at first answered too late; at first taken more time for."""


def say(word: str, offset: int = 0, fence: int = 0, number: int = 0, when: int | None = None) -> None:
    when = time.time_ns() // 1_000_000 if when is None else when
    os.write(1, f"{word} {offset} {fence} {number} {when}\n".encode())


class Door:
    """How a member answers."""

    async def answer(self, op: str, delivery: dict[str, Any], **fields: Any) -> bool | None:
        """Whether the lease was good; None where there was no answer."""
        raise NotImplementedError

    async def handle(self, delivery: dict[str, Any]) -> None:
        """Do what is to be done with one delivery."""
        offset, fence, attempt = delivery["offset"], delivery["fence"], delivery["attempt"]
        say("took", offset, fence, attempt, delivery["deadline"])
        kind, first = offset % KINDS, attempt == 1
        if kind == FORGOTTEN and first:
            return
        if kind == LATE and first:
            await asyncio.sleep(ACK_WAIT * 1.5)
        if kind == EXTENDED and first:
            until = time.time_ns() // 1_000_000 + 1_500
            if not await self.answer("extend", delivery, by=1_500):
                return
            say("extended", offset, fence, 0, until)
            await asyncio.sleep(ACK_WAIT * 1.2)
        if kind == POISON:
            say("nacking", offset, fence)
            answer = await self.answer("nack", delivery)
            say("unknown" if answer is None else "nacked" if answer else "stale", offset, fence)
            return
        say("acking", offset, fence)
        answer = await self.answer("ack", delivery)
        say("unknown" if answer is None else "acked" if answer else "stale", offset, fence)


class Socket(Door):
    """A member on a WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._waiting: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = 0

    async def answer(self, op: str, delivery: dict[str, Any], **fields: Any) -> bool | None:
        self._numbers += 1
        ref = str(self._numbers)
        reply = self._waiting[ref] = asyncio.get_running_loop().create_future()
        command = {"op": op, "deliveries": [delivery["delivery"]], "ref": ref} | fields
        try:
            await self._connection.send(json.dumps(command))
        except WebSocketException:
            return None
        found = await reply
        if found is None or found["op"] == "error":
            assert found is None or found["code"] == "unavailable", found
            return None
        return bool(found["deliveries"])

    async def run(self) -> None:
        """Work until the connection ends."""
        consume = {"op": "consume", "stream": STREAM, "group": GROUP, "credit": CREDIT, "ref": "consume"}
        await self._connection.send(json.dumps(consume))
        try:
            async for text in self._connection:
                frame = json.loads(text)
                if frame["op"] == "delivery":
                    task = asyncio.create_task(self.handle(frame))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                elif frame.get("ref") == "consume":
                    if frame["op"] == "error":
                        assert frame["code"] == "unavailable", frame
                        await asyncio.sleep(0.05)
                        await self._connection.send(json.dumps(consume))
                elif "ref" in frame:
                    self._waiting.pop(frame["ref"]).set_result(frame)
                else:
                    assert frame["op"] in {"welcome", "goaway"}, frame
        finally:
            say("cut")
            for each in self._waiting.values():
                if not each.done():
                    each.set_result(None)
            await asyncio.gather(*self._tasks)


async def on_sockets(urls: list[str]) -> None:
    for url in cycle(urls):
        with suppress(WebSocketException, OSError, TimeoutError):
            address = url.replace("http", "ws", 1) + "/v1/ws"
            async with connect(address, ping_interval=None, open_timeout=2, close_timeout=0.2) as connection:
                await Socket(connection).run()
        await asyncio.sleep(0.05)


class Requests(Door):
    """A member that pulls over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/v1/streams/{STREAM}/groups/{GROUP}"

    def post(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        request = urllib.request.Request(f"{self.url}/{what}", json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except urllib.error.HTTPError as refusal:
            with refusal:
                if refusal.code != 503:
                    raise ValueError(refusal.read()) from refusal
        except (OSError, json.JSONDecodeError, http.client.HTTPException):
            pass
        return None

    async def answer(self, op: str, delivery: dict[str, Any], **fields: Any) -> bool | None:
        found = await asyncio.to_thread(self.post, op, {"deliveries": [delivery["delivery"]]} | fields)
        return None if found is None else bool(found["deliveries"])


async def on_requests(urls: list[str]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for url in cycle(urls):
            door = Requests(url)
            found = await asyncio.to_thread(door.post, "pull", {"max": CREDIT, "wait": 0.5})
            if found is None:
                await asyncio.sleep(0.1)
            for each in (found or {"deliveries": []})["deliveries"]:
                tasks.create_task(door.handle(each))


if __name__ == "__main__":
    asyncio.run({"socket": on_sockets, "http": on_requests}[sys.argv[1]](sys.argv[2:]))
