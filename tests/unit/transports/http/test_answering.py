"""When a connection answers a known request by itself, and when its application has to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.errors import Unavailable
from gateway.transports.http.configuration import http_protocol
from gateway.transports.http.request_bounds import RequestLimits
from tests.unit.transports.http.test_turns import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n%b"
GENERAL = b"HTTP/1.1 200 OK\r\n"
DIRECT = b"HTTP/1.1 202 Accepted\r\n"


class Door:
    """Answers each body with itself, but for those that begin with ``!``; those with ``?`` later."""

    def __init__(self) -> None:
        self.later: list[Later] = []

    def recognise(self, target: bytes, _fields: Any) -> Any:
        return self.make if target == b"/a" else None

    def make(self, body: bytes) -> Any:
        if body == b"defect":
            raise ZeroDivisionError
        reply = 202, b"content-length: %d\r\n\r\n%b" % (len(body), body)
        if body.startswith(b"?"):
            self.later.append(Later(reply))
            return self.later[-1]
        return None if body.startswith(b"!") else reply


class Later:
    """A reply, once the test says so."""

    def __init__(self, reply: tuple[int, bytes]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.make = lambda: reply


async def application(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    assert scope["path"]
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def early(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def request(body: bytes) -> bytes:
    return REQUEST % (len(body), body)


class Client:
    """A connection that knows ``/a``, and what was written to it since."""

    def __init__(self, app: Any = application) -> None:
        config = Config(app, ws="none", log_config=None, access_log=False)
        config.load()
        self.state = ServerState()
        door = Door()
        self.later = door.later
        self.protocol: Any = http_protocol(RequestLimits(), requests=door)(config, self.state, {})
        self.transport = Transport()
        self.protocol.connection_made(self.transport)

    @classmethod
    async def known(cls) -> Client:
        client = cls()
        assert await client.send(request(b"0")) == GENERAL + b"content-length: 1\r\n\r\n0"
        assert len(client.protocol.known) == 1
        return client

    async def send(self, *pieces: bytes) -> bytes:
        self.transport.written = b""
        for piece in pieces:
            self.protocol.data_received(piece)
        for _ in range(8):
            await asyncio.sleep(0)
        return self.transport.written


async def test_a_known_request_is_answered_at_once_and_counted() -> None:
    client = await Client.known()
    client.transport.written = b""
    client.protocol.data_received(request(b"xyz"))
    assert client.transport.written == DIRECT + b"content-length: 3\r\n\r\nxyz"
    assert client.state.total_requests == 2
    assert client.protocol in client.protocol._quiet
    assert client.protocol not in client.protocol._heads


async def test_what_is_waited_for_is_answered_behind_it_and_counted() -> None:
    client = await Client.known()
    assert await client.send(request(b"?"), request(b"xyz"), request(b"?!")) == b""
    assert not client.state.tasks
    assert client.protocol not in client.protocol._quiet
    client.later[0].done.set_result(None)
    answers = await client.send()
    assert answers.startswith(DIRECT + b"content-length: 1\r\n\r\n?" + GENERAL)
    assert answers.count(b"HTTP/1.1 ") == 3
    assert client.state.total_requests == 4
    assert client.protocol in client.protocol._quiet
    assert len(client.later) == 1, "what comes meanwhile goes the general way"


async def test_what_is_waited_for_is_the_last_once_the_server_drains() -> None:
    client = await Client.known()
    assert await client.send(request(b"?")) == b""
    client.transport.get_write_buffer_size = lambda: 0  # type: ignore[method-assign]
    client.protocol.end_after_response()
    client.later[0].done.set_result(None)
    assert await client.send() == DIRECT + b"content-length: 1\r\nconnection: close\r\n\r\n?"
    assert client.transport.is_closing()


async def test_a_new_connection_knows_what_others_have_sent() -> None:
    first = await Client.known()
    config = first.protocol.config
    second: Any = type(first.protocol)(config, first.state, {})
    transport = Transport()
    second.connection_made(transport)
    assert second in second._heads
    second.data_received(request(b"x"))
    assert transport.written.startswith(DIRECT)
    assert second not in second._heads
    assert second in second._quiet


@pytest.mark.parametrize(
    "pieces",
    [
        (request(b"!x"),),
        (request(b"xyz")[:-1], b"z"),
        (request(b"xyz")[:9], request(b"xyz")[9:]),
        (b"\r\n" + request(b"xyz"),),
        (request(b"xyz") + b"\r\n",),
        (REQUEST.replace(b"/a", b"/b") % (1, b"x"),),
    ],
    ids=["the door declines", "slow body", "slow head", "line before", "line behind", "another head"],
)
async def test_the_application_answers_all_else(pieces: tuple[bytes, ...]) -> None:
    client = await Client.known()
    assert (await client.send(*pieces)).startswith(GENERAL)
    assert (await client.send(request(b"again"))).startswith(DIRECT)


async def test_requests_in_one_read_are_answered_in_their_order_by_the_application() -> None:
    client = await Client.known()
    answers = await client.send(request(b"1") + request(b"2"), request(b"3"))
    assert answers == b"".join(GENERAL + b"content-length: 1\r\n\r\n%d" % each for each in (1, 2, 3))
    assert client.state.total_requests == 4


async def test_nothing_overtakes_an_answer_that_is_due() -> None:
    client = await Client.known()
    answers = await client.send(request(b"!"), request(b"2"))
    assert answers == GENERAL + b"content-length: 1\r\n\r\n!" + GENERAL + b"content-length: 1\r\n\r\n2"


async def test_nothing_is_taken_for_a_request_that_is_the_rest_of_a_body() -> None:
    client = Client()
    await client.send(request(b"0"))
    client.protocol.app = client.protocol.config.loaded_app = early
    inner = request(b"inner")
    answered = await client.send(b"POST /b HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n" % len(inner))
    assert answered.startswith(GENERAL)
    assert await client.send(inner) == b""


def shut_out(client: Client) -> None:
    client.protocol._shut_out = Unavailable("spare")


def drain(client: Client) -> None:
    client.protocol._context.draining = True


def pause(client: Client) -> None:
    client.protocol.flow.pause_writing()


def close(client: Client) -> None:
    client.transport.closing = True


def refuse(client: Client) -> None:
    client.protocol._refused = True


@pytest.mark.parametrize("happen", [shut_out, drain, pause, close, refuse])
async def test_there_is_no_direct_answer_once_the_connection_is_about_to_end_or_full(
    happen: Callable[[Client], None],
) -> None:
    client = await Client.known()
    happen(client)
    assert DIRECT not in await client.send(request(b"x"))
    client.protocol.flow.resume_writing()
    await client.send()


async def test_a_defect_is_answered_once_and_ends_the_connection() -> None:
    client = await Client.known()
    assert (await client.send(request(b"defect"))).startswith(b"HTTP/1.1 500 ")
    assert await client.send(request(b"x")) == b""


@pytest.mark.parametrize(
    "name", [b"Transfer-Encoding: chunked", b"Content-Length: 1", b"Upgrade: h2c\r\nConnection: Upgrade"]
)
async def test_a_head_with_one_more_line_is_another_one(name: bytes) -> None:
    client = await Client.known()
    data = request(b"x").replace(b"\r\n\r\n", b"\r\n" + name + b"\r\n\r\n")
    assert DIRECT not in await client.send(data)
    assert len(client.protocol.known) == 1 or b"Upgrade" in name
    assert DIRECT not in await client.send(data)
