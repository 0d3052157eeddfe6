"""Handshakes that the server answers without the application around their endpoint."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import Response
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from gateway.transports.websocket.limits import ConnectionPolicy
from gateway.transports.websocket.takeover_offer import TakeoverOffer
from tests.integration.served_here import served_here
from tests.integration.test_admission import HANDSHAKE, Silent, echo, running, until
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.transports.websocket.takeover_offer import OpenHandshake

PATH = b"/a%20b"


class Door:
    """Does with each handshake what ``how`` says, and remembers its scope."""

    path = PATH

    def __init__(self, how: Callable[[OpenHandshake], Callable[[], Awaitable[None]] | None]) -> None:
        self._how = how
        self.scopes: list[Any] = []

    def answer(self, scope: Any, handshake: OpenHandshake) -> Callable[[], Awaitable[None]] | None:
        self.scopes.append(scope)
        return self._how(handshake)


def offer(how: Callable[[OpenHandshake], Callable[[], Awaitable[None]] | None]) -> TakeoverOffer:
    return TakeoverOffer(paths=None, policy=ConnectionPolicy(close_seconds=1), door=Door(how))


def let_in(handshake: OpenHandshake) -> None:
    handshake.accept("b")
    handshake.take_over(Silent, max_message=1000)


def let_in_later(handshake: OpenHandshake) -> Callable[[], Awaitable[None]]:
    async def later() -> None:
        await asyncio.sleep(0)
        let_in(handshake)

    return later


def refuse(handshake: OpenHandshake) -> None:
    handshake.refuse(Response("no", 429, {"retry-after": "7"}))


def fail(_handshake: OpenHandshake) -> None:
    raise ZeroDivisionError


def accept_only(handshake: OpenHandshake) -> None:
    handshake.accept(None)


def say_nothing(_handshake: OpenHandshake) -> None: ...


async def never_asked(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope)


@pytest.mark.parametrize("how", [let_in, let_in_later], ids=["now", "later"])
async def test_a_client_is_let_in_and_what_it_said_early_is_heard(how: Any) -> None:
    early = b"\x81\x82\0\0\0\0hi"
    async with running(never_asked, offer(how)) as node:
        reader, writer = await node.ask(HANDSHAKE + b"\r\n" + early)
        async with asyncio.timeout(HANG_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"\r\nSec-WebSocket-Protocol: b\r\n" in head
            assert await reader.readexactly(4) == b"\x81\x02hi"
        writer.close()
        await until(lambda: not node.connections)


async def test_a_head_like_an_earlier_one_gets_what_that_got_with_values_of_its_own() -> None:
    door = Door(let_in)
    heads = [HANDSHAKE + b"Cookie: %b\r\n\r\n" % value for value in (b"one", b"two", b"one")]
    async with running(never_asked, TakeoverOffer(paths=None, door=door)) as node:
        answers = []
        for head in heads:
            reader, writer = await node.ask(head)
            async with asyncio.timeout(HANG_SECONDS):
                answers.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"\x81\x82\0\0\0\0hi")
                assert await reader.readexactly(4) == b"\x81\x02hi"
            writer.close()
        refused = await node.answer(heads[0].replace(b"Key: ", b"Key: x"))
        await until(lambda: not node.connections)

    assert answers[0] == answers[1] == answers[2]
    assert refused.startswith(b"HTTP/1.1 400 ")
    cookies = [dict(scope["headers"])[b"cookie"] for scope in door.scopes]
    assert cookies == [b"one", b"two", b"one"]
    addresses = {scope.pop("client") for scope in door.scopes}
    assert len(addresses) == len(heads)
    for scope in door.scopes:
        scope["headers"] = [field for field in scope["headers"] if field[0] != b"cookie"]
    assert door.scopes[0] == door.scopes[1] == door.scopes[2]


async def test_other_paths_are_the_applications() -> None:
    async with running(echo, offer(fail)) as node:
        with pytest.raises(ConnectionClosedError) as closed:
            async with node.connect(subprotocols=["b"]) as client:
                await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011  # it keeps connections itself, which is not offered


@pytest.mark.parametrize(("how", "status"), [(refuse, 429), (fail, 500), (say_nothing, 500)])
async def test_who_is_not_let_in_gets_an_answer_and_is_gone(how: Any, status: int) -> None:
    async with running(never_asked, offer(how)) as node:
        answer = await node.answer(HANDSHAKE + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (b"retry-after: 7\r\n" in answer) == (status == 429)
        await until(lambda: not node.connections)


async def test_a_connection_that_nobody_takes_over_is_closed() -> None:
    async with running(never_asked, offer(accept_only)) as node:
        answer = await node.answer(HANDSHAKE + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert answer.endswith(b"\x88\x02\x03\xf3")
        await until(lambda: not node.connections)


async def test_a_client_that_goes_before_its_answer_leaves_nothing() -> None:
    gone, outcome = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def answer(handshake: OpenHandshake) -> None:
        await gone.wait()
        try:
            handshake.refuse(Response("nobody reads this", 403))
            handshake.accept(None)
        except OSError:
            outcome.set_result("gone")
            raise

    async with running(never_asked, offer(lambda handshake: partial(answer, handshake))) as node:
        _, writer = await node.ask(HANDSHAKE + b"\r\n")
        await until(lambda: node.server.server_state.tasks)
        writer.transport.abort()
        await until(lambda: not node.connections)
        gone.set()
        assert await outcome == "gone"
        await until(lambda: not node.server.server_state.tasks)


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ORDINARY = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
REFUSED = {
    "origin": ("/v1/ws", {"Origin": "https://elsewhere.example"}),
    "no origin": ("/v1/ws", {"Origin": "null"}),
    "host": ("/v1/ws", {"Host": "rebound.example"}),
    "subprotocol": ("/v1/ws", {"Sec-WebSocket-Protocol": "mqtt"}),
    "token in URL": ("/v1/ws?access_token=x", {}),
    "bad token": ("/v1/ws", {"Authorization": "Bearer a.b.c"}),
    "bad scheme": ("/v1/ws", {"Authorization": "Basic eDp5"}),
    "encoded path": ("/v1/%77s", {}),
    "no such path": ("/v1/ws/", {}),
}
SETTINGS: dict[str, Any] = {
    "auth": {
        "mode": "optional",
        "anonymous": {"subscribe": ["#"]},
        "keys": [{"algorithm": "HS256", "secret": "env:DOOR_SECRET"}],
    },
    "server": {"trusted_proxies": ["127.0.0.1"], "console": False},
}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_SECRET", "0123456789abcdef0123456789abcdef")


async def _answers(
    requests: list[bytes], *, direct: bool, **settings: Any
) -> tuple[list[str], dict[str, int]]:
    """What each request is answered, and how many refusals of which kind were counted."""
    answers, writers = [], []
    async with served_here(direct=direct, **(SETTINGS | settings)) as node:
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(request)
            async with asyncio.timeout(HANG_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
            answers.append(re.sub(r"date: .*\r\n", "", (head + body).decode()))
            writers.append(writer)  # who was let in stays
        for writer in writers:
            writer.close()
        await until(node.is_quiet)
        return answers, dict(node.gateway._refusals.statistics())


def _request(target: str, fields: dict[str, str]) -> bytes:
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in (ORDINARY | fields).items())]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("target, fields", REFUSED.values(), ids=REFUSED)  # noqa: PT006
async def test_both_ways_refuse_alike(target: str, fields: dict[str, str]) -> None:
    direct, routed = [await _answers([_request(target, fields)], direct=way) for way in (True, False)]
    assert direct == routed
    assert re.match(r"HTTP/1\.1 4\d\d ", direct[0][0])


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"connections_per_address": 1}, "429"),
        ({"connections": 1}, "503"),
    ],
    ids=["per address", "node"],
)
async def test_both_ways_hold_the_limits_of_whoever_a_trusted_proxy_names(
    limits: dict[str, Any], status: str
) -> None:
    requests = [_request("/v1/ws", {"X-Forwarded-For": "192.0.2.7"})] * 3
    direct, routed = [await _answers(requests, direct=way, limits=limits) for way in (True, False)]
    assert [answer[:12] for answer in direct[0]] == [answer[:12] for answer in routed[0]]
    assert direct[1] == routed[1]
    assert direct[0][0].startswith("HTTP/1.1 101 ")
    assert direct[0][2].startswith(f"HTTP/1.1 {status} ")


async def test_a_place_that_was_taken_is_free_again_after_a_refusal() -> None:
    async with served_here(**(SETTINGS | {"limits": {"connections_per_address": 1}})) as node:
        url = f"ws://127.0.0.1:{node.port}/v1/ws"
        for headers in ({"Authorization": "Bearer a.b.c"}, {"Authorization": "Basic x"}):
            with pytest.raises(InvalidStatus):
                await connect(url, additional_headers=headers)
        async with connect(url):
            assert node.gateway._admission.of_address("127.0.0.1") == 1
        await until(lambda: not node.gateway._admission.of_address("127.0.0.1"))
