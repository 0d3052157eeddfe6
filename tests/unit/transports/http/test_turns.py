"""How much of one read is parsed in one turn of the event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.transports.http.protocol import GatewayHttpProtocol
from gateway.transports.http.read_ahead import TURN_BYTES

HEAD = b"POST /%d HTTP/1.1\r\nhost: a\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
READ = 256 * 1024


class Transport(asyncio.Transport):
    """Records what is written, and whether more is read."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.reading = True
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return False


class Connection(GatewayHttpProtocol):
    """Records how many bytes its parser got in each turn, and the parts of bodies."""

    def __init__(self, app: Any) -> None:
        config = Config(app, ws="none", log_config=None, access_log=False)
        config.load()
        super().__init__(config, ServerState(), {})
        self.connection_made(Transport())
        self._expect_requests()
        self.bodies: list[bytes] = []
        self.fed = 0
        feed = self._reader.__class__.feed
        connection = self

        class Reader(self._reader.__class__):  # type: ignore[name-defined, misc]
            __slots__ = ()

            def feed(self, data: bytes, *, idle: bool) -> Any:
                connection.fed += len(data)
                return feed(self, data, idle=idle)

        self._reader.__class__ = Reader

    def take_body(self, body: bytes) -> None:
        self.bodies.append(body)
        super().take_body(body)

    @property
    def wire(self) -> Any:
        return self.transport


class Echo:
    """Answers with the body's digits, in the order of requests."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes, bool]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more, whole = b"", True, True
        while more:
            message = await receive()
            body += message.get("body", b"")
            whole = message["type"] == "http.request"
            more = message.get("more_body", False)
        self.got.append((scope["path"], body, whole))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


def chunks(number: int) -> bytes:
    return b"".join(b"1\r\n%d\r\n" % (each % 10) for each in range(number)) + b"0\r\n\r\n"


async def turns(connection: Connection) -> list[int]:
    """Let the loop turn until nothing is held; how many bytes the parser got in each turn."""
    fed = []
    while connection._ahead:
        before = connection.fed
        await asyncio.sleep(0)
        fed.append(connection.fed - before)
    return fed


async def finish(connection: Connection) -> None:
    while connection.tasks:
        await asyncio.gather(*connection.tasks)
        await asyncio.sleep(0)
    connection.connection_lost(None)


async def test_a_read_of_small_chunks_is_parsed_over_turns_and_in_order() -> None:
    app = Echo()
    connection = Connection(app)
    number = READ // 6
    read = CHUNKED % 1 + chunks(number) + HEAD % 2 + b"content-length: 2\r\n\r\nab"

    connection.data_received(read)
    assert connection.fed <= TURN_BYTES + 3
    assert len(connection.bodies) <= TURN_BYTES // 6
    assert not connection.wire.reading
    fed = await turns(connection)
    assert max(fed) <= TURN_BYTES + 3
    assert connection.wire.reading

    await finish(connection)
    digits = b"".join(b"%d" % (each % 10) for each in range(number))
    assert app.got == [("/1", digits, True), ("/2", b"ab", True)]
    assert connection.wire.written.count(b"HTTP/1.1 204") == 2


async def test_what_comes_while_a_part_is_held_stays_behind_it() -> None:
    app = Echo()
    connection = Connection(app)
    connection.data_received(CHUNKED % 1 + chunks(2 * TURN_BYTES)[:-5])
    connection.data_received(b"1\r\nx\r\n0\r\n\r\n")  # TLS has it already, whether or not reading is paused
    await turns(connection)
    await finish(connection)

    ((path, body, whole),) = app.got
    assert (path, whole) == ("/1", True)
    assert len(body) == 2 * TURN_BYTES + 1
    assert body.endswith(b"x")


async def test_a_body_that_nobody_takes_stops_reading_all_the_same() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    connection = Connection(app)
    connection.data_received(HEAD % 1 + b"content-length: 1000000\r\n\r\n" + bytes(READ))
    await turns(connection)
    assert not connection.wire.reading
    for task in connection.tasks:
        task.cancel()
    connection.connection_lost(None)


@pytest.mark.parametrize("end", ["lost", "closed"])
async def test_nothing_is_parsed_behind_the_end(end: str) -> None:
    app = Echo()
    connection = Connection(app)
    connection.data_received(CHUNKED % 1 + chunks(READ // 6))
    fed = connection.fed
    connection.wire.close()
    if end == "lost":
        connection.connection_lost(None)
    await turns(connection)
    assert connection.fed == fed
    if end == "closed":
        connection.connection_lost(None)
    await asyncio.gather(*connection.tasks)
    assert [whole for _, _, whole in app.got] == [False]


async def test_a_refusal_in_a_later_turn_reads_on_for_the_rest(caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)
    connection = Connection(Echo())
    connection.data_received(CHUNKED % 1 + chunks(TURN_BYTES)[:-5] + b"no chunk\r\n")
    await turns(connection)
    assert connection.wire.written.startswith(b"HTTP/1.1 400 ")
    assert connection.wire.reading
    await finish(connection)


async def test_a_request_of_one_small_read_is_parsed_at_once() -> None:
    app = Echo()
    connection = Connection(app)
    read = HEAD % 1 + b"content-length: 4\r\n\r\nbody"
    connection.data_received(read)
    assert connection.fed == len(read)
    assert not connection._ahead
    assert not connection.flow.resting
    await finish(connection)
    assert app.got == [("/1", b"body", True)]


async def test_a_wish_for_a_protocol_that_is_not_spoken_keeps_the_order() -> None:
    app = Echo()
    connection = Connection(app)
    number = 2 * TURN_BYTES
    asks = HEAD % 2 + b"connection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.data_received(CHUNKED % 1 + chunks(number) + asks + chunks(number))
    await turns(connection)
    await finish(connection)

    digits = b"".join(b"%d" % (each % 10) for each in range(number))
    assert app.got == [("/1", digits, True), ("/2", digits, True)]
