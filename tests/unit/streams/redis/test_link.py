"""One connection: what becomes of calls when it breaks, and what is said again."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.core.timing.backoff import Backoff
from gateway.errors import RedisUnavailable
from gateway.redis.servers import Address
from gateway.redis.wire import CommandRefused
from gateway.streams.redis.link import CallLink
from gateway.streams.redis.script import Script
from gateway.streams.redis.scripts import READ
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


@dataclass
class Call:
    name: str
    size: int = 10
    over: bool = False
    script: Script = READ
    fate: list[object] = field(default_factory=list)

    def arguments(self) -> tuple[str | bytes | int, ...]:
        return 0, self.name

    def answered(self, reply: object) -> None:
        self.fate.append(reply)

    def refused(self, refusal: CommandRefused) -> None:
        self.fate.append(f"refused {refusal.code}")

    def lost(self, reason: str) -> None:
        self.fate.append("lost")

    def again(self) -> None:
        self.fate.append("again")


class Server:
    """Servers and wire in one: answers a command by what the test prepared for it, or with its last word."""

    sharded = False

    def __init__(self, **answers: list[object]) -> None:
        self.answers = answers
        self.sent: list[list[tuple[Any, ...]]] = []
        self.connected = self.closed = 0
        self._replies: deque[object] = deque()

    async def connect(self, address: Address) -> Server:
        self.connected += 1
        self._replies.clear()
        return self

    async def send(self, commands: Iterable[tuple[Any, ...]]) -> None:
        self.sent.append(list(commands))
        for command in self.sent[-1]:
            prepared = self.answers.get(str(command[-1]), [])
            self._replies.append(prepared.pop(0) if prepared else command[-1])

    def when_lost(self, told: object) -> None:
        pass

    def check(self) -> None:
        pass

    async def receive(self) -> object:
        reply = self._replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def call(self, *command: str) -> object:
        await self.send([command])
        return await self.receive()

    async def close(self) -> None:
        self.closed += 1


@asynccontextmanager
async def running(server: Server, *calls: Call, **more: Any) -> AsyncIterator[CallLink]:
    link = CallLink(
        server,  # type: ignore[arg-type]
        Address("", 0),
        purpose="reading",
        timeout=5,
        beat_seconds=60,
        backoff=Backoff(first_seconds=0.001, limit_seconds=0.001),
        relocate=lambda: None,
        **more,
    )
    for call in calls:
        link.submit(call)
    task = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while not all(call.fate for call in calls if not call.over):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0)
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert server.closed == server.connected


async def test_all_that_waits_goes_in_one_round_trip() -> None:
    calls = [Call("a"), Call("b", over=True), Call("c")]
    server = Server()
    async with running(server, *calls):
        assert [call.fate for call in calls] == [["a"], [], ["c"]]
        assert [[command[-1] for command in sent] for sent in server.sent] == [["a", "c"]]


async def test_a_round_trip_is_bounded_in_bytes() -> None:
    calls = [Call(name, size=3 * 1024 * 1024) for name in "abc"]
    server = Server()
    async with running(server, *calls):
        assert [[command[-1] for command in sent] for sent in server.sent] == [["a", "b"], ["c"]]


async def test_a_script_that_the_server_does_not_know_is_sent_whole() -> None:
    calls = [Call("a"), Call("b")]
    server = Server(a=[CommandRefused("No matching script.", "NOSCRIPT"), "done"])
    async with running(server, *calls):
        assert [call.fate for call in calls] == [["done"], ["b"]]
        assert [command[0] for sent in server.sent for command in sent] == ["EVALSHA", "EVALSHA", "EVAL"]
        assert server.sent[1][0][1] == READ.text


async def test_refusals_say_what_was_done() -> None:
    calls = [Call("a"), Call("b"), Call("c")]
    server = Server(a=[CommandRefused("1 h:1", "MOVED")], b=[CommandRefused("no memory", "OOM")])
    async with running(server, *calls):
        assert [call.fate for call in calls] == [["again"], ["refused OOM"], ["c"]]
        assert server.connected == 1


async def test_a_server_that_is_no_master_is_left() -> None:
    calls = [Call("a"), Call("b")]
    server = Server(a=[CommandRefused("it is a replica", "READONLY")])
    async with running(server, *calls):
        assert [call.fate for call in calls] == [["again"], ["b"]]
        async with asyncio.timeout(HANG_SECONDS):
            while server.connected < 2:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0)


async def test_what_was_under_way_when_the_connection_broke_is_lost_and_the_rest_goes_on() -> None:
    calls = [Call("a"), Call("b", size=5 * 1024 * 1024), Call("c")]
    server = Server(b=[RedisUnavailable("cut")])
    async with running(server, *calls):
        assert [call.fate for call in calls] == [["lost"], ["lost"], ["c"]]
        assert server.connected == 2


async def test_enough_replicas_or_it_does_not_count() -> None:
    call = Call("a")
    server = Server(**{"4500": [1, 2]})
    async with running(server, call, replicas=2):
        assert call.fate == ["lost"]
        assert server.sent[-1] == [("WAIT", "2", "4500")]


async def test_what_has_not_gone_is_told_when_another_connection_takes_over() -> None:
    server = Server()
    async with running(server, Call("a")) as link:
        waiting = Call("b")
        link.submit(waiting)
        link.retire()
        assert waiting.fate == ["again"]
        assert not link.accepting
