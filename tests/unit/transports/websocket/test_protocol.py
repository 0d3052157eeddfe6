"""Whoever writes through a connection's own ``write`` writes what the connection would, at all times."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from uvicorn.server import ServerState

from gateway.codecs.websocket_frames import server_frame
from gateway.transports.server.server_context import context_of
from gateway.transports.websocket import protocol as lean_websocket
from gateway.transports.websocket.frame_parser import EVENTS_AT_ONCE, ClientFrames, FrameLimits
from gateway.transports.websocket.limits import ConnectionPolicy
from gateway.transports.websocket.protocol import LeanWebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.core.fanout.outbox import Buffering

CLOSE_1000 = b"\x88\x02\x03\xe8"


class Owner:
    """A session that writes only by what it was lent."""

    write: Callable[[bytes], None]
    transport: Buffering | None = None
    descriptor = -1

    def __init__(self, connection: LeanWebSocketProtocol) -> None:
        connection.write_for(self)
        self.ended: tuple[int, str] | None = None

    def more_to_read(self) -> None: ...

    def writable_changed(self, writable: bool) -> None:
        pass

    def connection_closed(self, code: int, reason: str) -> None:
        self.ended = (code, reason)


@pytest.fixture
async def peer() -> AsyncIterator[socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        yield theirs, ours


async def connect(
    ours: socket.socket, head: bytes, make: Callable[[LeanWebSocketProtocol], Owner] = Owner
) -> tuple[LeanWebSocketProtocol, Owner]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    connection = LeanWebSocketProtocol(
        transport,
        ClientFrames(FrameLimits(1024)),
        context=context_of(ServerState(), loop),
        policy=ConnectionPolicy(),
        writable=True,
        head=head,
    )
    transport.set_protocol(connection)
    owners = []

    def session(connection: LeanWebSocketProtocol) -> Owner:
        owners.append(make(connection))
        return owners[0]

    connection.begin(session, ())
    return connection, owners[0]


async def received(peer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += await asyncio.get_running_loop().sock_recv(peer, 1024)
    return got


async def test_the_first_frames_go_behind_the_handshake_s_answer(peer) -> None:
    theirs, ours = peer
    connection, owner = await connect(ours, b"head")
    owner.write(b"one")
    owner.write(b"two")
    assert await received(theirs, 10) == b"headonetwo"
    connection.abort()


async def test_the_answer_does_not_wait_for_frames(peer) -> None:
    theirs, ours = peer
    connection, owner = await connect(ours, b"head")
    assert await received(theirs, 4) == b"head"
    owner.write(b"one")
    assert await received(theirs, 3) == b"one"
    connection.abort()


async def test_nothing_follows_a_close_frame(peer) -> None:
    theirs, ours = peer
    connection, owner = await connect(ours, b"")
    connection.close(1000)
    owner.write(b"late")
    assert await received(theirs, 4) == CLOSE_1000
    assert await asyncio.get_running_loop().sock_recv(theirs, 1024) == b""
    assert owner.ended is None


async def test_nothing_follows_the_peer_s_close(peer) -> None:
    theirs, ours = peer
    _, owner = await connect(ours, b"")
    theirs.send(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    assert await received(theirs, 4) == CLOSE_1000
    owner.write(server_frame(b"late", 1))
    assert await asyncio.get_running_loop().sock_recv(theirs, 1024) == b""
    assert owner.ended == (1000, "")


async def test_the_socket_is_lent_once_the_answer_has_gone_and_until_anything_ends(peer) -> None:
    theirs, ours = peer
    number = ours.fileno()
    connection, owner = await connect(ours, b"head")
    assert (owner.transport, owner.descriptor) == (None, -1)
    owner.write(b"one")
    assert owner.transport is connection._transport
    assert owner.descriptor == number
    connection.close(1000)
    assert (owner.transport, owner.descriptor) == (None, -1)
    assert await received(theirs, 11) == b"headone" + CLOSE_1000


@pytest.mark.parametrize("end", ["abort", "eof", "close", "reset"])
async def test_a_socket_is_not_lent_any_more_when_its_number_may_be_another_s(peer, end: str) -> None:
    theirs, ours = peer
    number = ours.fileno()
    lent: list[int] = []

    class Watching(Owner):
        def connection_closed(self, code: int, reason: str) -> None:
            lent.append(self.descriptor)
            super().connection_closed(code, reason)

    connection, owner = await connect(ours, b"", Watching)
    assert owner.descriptor == number
    if end == "abort":
        connection.abort()
    elif end == "close":
        theirs.send(b"\x88\x80\x00\x00\x00\x00")
    else:
        if end == "reset":
            # Unread bytes turn the end of a connection into its reset.
            owner.write(b"one")
        theirs.close()
    while not lent:
        assert ours.fileno() == owner.descriptor == number or owner.descriptor == -1
        await asyncio.sleep(0)
    assert lent == [-1]


class Listener(Owner):
    """A session that notes which turn of the event loop brought each message."""

    def __init__(self, connection: LeanWebSocketProtocol) -> None:
        super().__init__(connection)
        self.turn = 0
        self.told_of_more: list[int] = []
        self.heard: list[tuple[int, bytes]] = []
        self.last = asyncio.Event()
        self._next_turn()

    def message_received(self, opcode: int, payload: bytes) -> None:
        self.heard.append((self.turn, payload))
        if payload == b"end":
            self.last.set()

    def more_to_read(self) -> None:
        self.told_of_more.append(len(self.heard))

    def _next_turn(self) -> None:
        self.turn += 1
        if not self.last.is_set():
            asyncio.get_running_loop().call_soon(self._next_turn)


@pytest.mark.parametrize(("seconds", "most"), [(-1.0, lean_websocket._STEP), (1000.0, EVENTS_AT_ONCE)])
async def test_the_messages_of_one_read_are_taken_in_several_turns_in_order(
    peer, monkeypatch: pytest.MonkeyPatch, seconds: float, most: int
) -> None:
    monkeypatch.setattr(lean_websocket, "_TURN_SECONDS", seconds)
    theirs, ours = peer
    connection, listener = await connect(ours, b"", Listener)
    sent = [f"{number:03d}".encode() for number in range(600)]
    connection.data_received(b"".join(b"\x81\x83\0\0\0\0" + payload for payload in sent))
    assert 0 < len(listener.heard) <= most
    # The connection is read on after all that.
    theirs.send(b"\x81\x83\0\0\0\0end")
    await listener.last.wait()
    assert [payload for _, payload in listener.heard] == [*sent, b"end"]
    assert max(Counter(turn for turn, _ in listener.heard).values()) <= most
    # At the end of each turn but the last: nothing is waited for when all has been taken.
    assert listener.told_of_more == list(range(most, len(sent), most))
    connection.abort()


async def test_a_session_that_pauses_between_turns_gets_nothing_until_it_resumes(
    peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean_websocket, "_TURN_SECONDS", -1.0)
    _, ours = peer
    connection, listener = await connect(ours, b"", Listener)
    sent = [b"one"] * lean_websocket._STEP + [b"two", b"end"]
    connection.data_received(b"".join(b"\x81\x83\0\0\0\0" + each for each in sent))
    connection.pause_reading()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(listener.heard) == lean_websocket._STEP
    connection.resume_reading()
    await listener.last.wait()
    assert [payload for _, payload in listener.heard] == sent
    connection.abort()


async def test_pausing_and_resuming_between_turns_gives_no_more_turns(
    peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean_websocket, "_TURN_SECONDS", -1.0)
    _, ours = peer
    connection, listener = await connect(ours, b"", Listener)
    sent = [b"one"] * 100 + [b"end"]
    connection.data_received(b"".join(b"\x81\x83\0\0\0\0" + each for each in sent))
    for _ in range(3):
        connection.pause_reading()
        connection.resume_reading()
    await listener.last.wait()
    assert max(Counter(turn for turn, _ in listener.heard).values()) == lean_websocket._STEP
    connection.abort()
