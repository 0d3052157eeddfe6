"""What a client may try below the application: each attack ends in its error, and costs a bounded amount."""

from __future__ import annotations

import contextlib
import signal
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
MASK = b"\0\0\0\0"  # legal, and keeps the payload readable
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = (
    GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HEAD_SECONDS = 1.0
"""For a head: much more than a busy machine takes from a connection's first moment to its first bytes."""

PING_125 = b"\x89\xfd" + MASK + b"p" * 125
EMPTY_CONTINUATION = b"\x00\x80" + MASK

Echo = Callable[..., Any] if TYPE_CHECKING else Any


def text(payload: bytes) -> bytes:
    return b"\x81" + bytes((0x80 | len(payload),)) + MASK + payload


# Frames


def test_pongs_wait_while_the_client_reads_nothing(echo: Echo) -> None:
    server = echo("lean", policy={"controls_per_second": 0})
    client = server.open(receive_buffer=4096)
    client.send(PING_125 * 1000)
    before = server.rss()

    for _ in range(300):  # 39 MB
        client.send(PING_125 * 1000)

    assert server.rss() - before < 4 * MIB
    client.send(b"\x89\x84" + MASK + b"last")
    while client.read_frame() != (10, b"last"):
        pass


def test_a_ping_flood_is_closed(echo: Echo) -> None:
    server = echo("lean")
    client = server.open()

    with ThreadPoolExecutor(1) as thread:
        flood = thread.submit(client.send_until_refused, PING_125 * 100, 100)
        assert client.read_close_code() == 1008
        client.socket.close()
        flood.cancel()

    assert server.log().count("too many control frames") + server.log().count("too many pings") <= 2


def test_empty_continuation_frames_are_bounded(echo: Echo) -> None:
    server = echo("lean")
    client = server.open()

    client.send(b"\x01\x80" + MASK + EMPTY_CONTINUATION * 1024)

    assert client.read_close_code() == 1008


def test_invalid_utf8_logs_few_lines_and_no_traceback(echo: Echo) -> None:
    server = echo("lean")

    for _ in range(50):
        client = server.open()
        client.send(text(b"\xff"))
        assert client.read_close_code() == 1007
        client.socket.close()

    log = server.log()
    assert "Traceback" not in log
    assert log.count("WebSocket closed: text must be UTF-8") <= 3


def test_a_violation_behind_a_message_is_answered_after_it(echo: Echo) -> None:
    client = echo("lean").open()

    client.send(text(b"one") + text(b"two") + b"\x83\x80" + MASK)

    frames = [client.read_frame() for _ in range(3)]
    assert frames[:2] == [(1, b"one"), (1, b"two")]
    assert frames[2][1][:2] == (1002).to_bytes(2, "big")


def test_a_client_in_the_middle_of_a_too_large_message_sees_why_it_was_closed(echo: Echo) -> None:
    client = echo("lean").open()

    client.send(b"\x82\xff" + (20 * MIB).to_bytes(8, "big") + MASK)
    client.send(bytes(4 * MIB))

    assert client.read_close_code() == 1009


def test_a_message_must_be_complete_in_time(echo: Echo) -> None:
    server = echo("lean", policy={"message_seconds": 0.3})
    whole, frame, fragments = server.open(), server.open(), server.open()

    whole.send(text(b"whole"))
    frame.send(text(b"cut short")[:-1])
    fragments.send(b"\x01\x81" + MASK + b"x" + PING_125)

    assert frame.read_close_code() == 1008
    assert fragments.read_close_code() == 1008
    whole.send(text(b"still here"))
    assert [whole.read_frame(), whole.read_frame()] == [(1, b"whole"), (1, b"still here")]


def test_pongs_in_between_give_a_message_no_more_time(echo: Echo) -> None:
    client = echo("lean", policy={"message_seconds": 0.5}).open()
    client.send(b"\x01\x81" + MASK + b"x")
    ended = threading.Event()

    def keep_sending_pongs() -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.05):
                client.send(b"\x8a\x80" + MASK)

    sender = threading.Thread(target=keep_sending_pongs)
    sender.start()
    try:
        assert client.read_close_code() == 1008
    finally:
        ended.set()
        sender.join()


def test_a_client_that_ignores_the_close_frame_is_cut_off(echo: Echo) -> None:
    server = echo("lean", policy={"close_seconds": 0.3})
    client = server.open()

    client.send(text(b"\xff"))
    assert client.read_close_code() == 1007
    assert client.send_until_refused(b"x", 1 << 30) < 1 << 30


def test_a_frame_that_says_it_is_compressed_is_refused(echo: Echo) -> None:
    client = echo("lean", ws_per_message_deflate=True).connect()
    client.send(UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    assert b"permessage-deflate" not in client.read_until(b"\r\n\r\n")

    client.send(b"\xc1\x80" + MASK)

    assert client.read_close_code() == 1002


def test_a_deflate_bomb_costs_a_plain_application_what_a_message_may(echo: Echo) -> None:
    server = echo("asgi", ws_per_message_deflate=True)
    client = server.open(b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = deflater.compress(bytes(64 * MIB)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    before = server.rss()

    client.send(b"\xc2\xff" + len(bomb).to_bytes(8, "big") + MASK + bomb)

    assert client.read_close_code() == 1009
    assert server.rss() - before < 48 * MIB


def test_shutdown_does_not_wait_for_a_client_that_reads_nothing(echo: Echo) -> None:
    server = echo("lean", policy={"close_seconds": 0.5})
    client = server.open(receive_buffer=4096)
    client.socket.settimeout(0.5)
    large = b"\x82\xff" + MIB.to_bytes(8, "big") + MASK + bytes(MIB)
    with pytest.raises(TimeoutError):
        client.send_until_refused(large, 20)

    server.process.send_signal(signal.SIGTERM)

    server.process.wait(timeout=HANG_SECONDS)


# Behind the handshake


def test_what_is_sent_right_behind_the_handshake_is_not_lost(echo: Echo) -> None:
    server = echo("lean")
    message = text(b"second")

    client = server.open(early=text(b"first") + message[:4])
    client.send(message[4:])

    assert [client.read_frame(), client.read_frame()] == [(1, b"first"), (1, b"second")]


def test_bytes_behind_a_refused_handshake_are_no_request(echo: Echo) -> None:
    client = echo("refuse").connect()

    client.send(UPGRADE + b"\r\n" + GET + b"\r\n")

    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_handshake_behind_an_unanswered_request_is_refused(echo: Echo) -> None:
    client = echo("lean").connect()

    client.send(GET + b"\r\n" + UPGRADE + b"\r\n")

    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1


# Request heads


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000,
        GET + b"X-Long: " + b"a" * 40_000,
        GET + b"X-Many: " + b"a" * 500 + (b"\r\nX-Many: " + b"a" * 500) * 80,
        GET + b"X: y\r\n" * 101,
        UPGRADE + b"Cookie: " + b"a" * 8200 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 101,
    ],
    ids=["target", "header", "headers", "count", "upgrade line", "trailer"],
)
def test_a_head_over_its_bounds_gets_431(echo: Echo, head: bytes) -> None:
    server = echo("asgi")
    client = server.connect()

    client.send(head)

    assert client.read_all().startswith(b"HTTP/1.1 431 ")
    assert server.log().count("HTTP request refused: 431") == 1


def test_an_endless_header_costs_its_bound(echo: Echo) -> None:
    server = echo("asgi")
    client = server.connect()
    before = server.rss()

    client.send(GET + b"X-Long: ")
    client.send_until_refused(b"a" * 65536, 320)  # 20 MB

    assert server.rss() - before < 4 * MIB
    assert "HTTP request refused: 431" in server.log()


@pytest.mark.parametrize("begun", [b"GET / HT", GET, b"\r\n", b""])
def test_a_head_must_be_complete_in_time(echo: Echo, begun: bytes) -> None:
    client = echo("asgi", limits={"head_seconds": HEAD_SECONDS}).connect()

    client.send(begun)

    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ") if begun.strip() else answer == b""


@pytest.mark.parametrize("begun", [b"GET / HT", b"\r\n"])
def test_so_must_the_next_one_on_the_same_connection(echo: Echo, begun: bytes) -> None:
    client = echo("asgi", limits={"head_seconds": HEAD_SECONDS}, timeout_keep_alive=60).connect()

    client.send(GET + b"\r\n")
    assert client.read_until(b"hello").startswith(b"HTTP/1.1 200 ")
    client.send(begun)

    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ") if begun.strip() else answer == b""


POST = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"abc"])
@pytest.mark.parametrize("before", [b"", POST % (b"", 3) + b"abc"])
def test_a_body_must_go_on(echo: Echo, begun: bytes, before: bytes) -> None:
    server = echo("count", limits={"body_seconds": 0.3})
    client = server.connect()

    client.send(before)
    if before:
        client.read_until(b"\r\n\r\n3")
    client.send(POST % (b"", 10) + begun)

    assert client.read_all().startswith(b"HTTP/1.1 408 ")
    server.wait_for_log("the client went")


def test_a_body_may_come_slowly(echo: Echo) -> None:
    client = echo("count", limits={"body_seconds": 2.0}).connect()

    client.send(POST % (b"", 10))
    for _ in range(9):
        client.send(b"a")
        client.expect_silence(0.25)
    client.send(b"a")

    assert client.read_until(b"\r\n\r\n10").startswith(b"HTTP/1.1 200 ")


def test_an_application_that_takes_its_time_is_not_the_client_s_fault(echo: Echo) -> None:
    client = echo("count", limits={"body_seconds": 1.0}).connect()
    size = 1024 * 1024  # much more than is read ahead

    client.send(POST % (b"1.5", size) + bytes(size))

    assert client.read_until(b"%d" % size).startswith(b"HTTP/1.1 200 ")


def test_an_answer_before_the_body_s_end_is_not_followed_by_another(echo: Echo) -> None:
    limits = {"body_seconds": 0.3, "head_seconds": HEAD_SECONDS}
    client = echo("asgi", limits=limits, timeout_keep_alive=2).connect()

    client.send(POST % (b"", 10) + b"abc")

    assert client.read_all().count(b"HTTP/1.1") == 1


def test_a_connection_that_waits_between_requests_is_left_alone(echo: Echo) -> None:
    client = echo("asgi", limits={"head_seconds": HEAD_SECONDS}, timeout_keep_alive=60).connect()

    client.send(GET + b"\r\n")
    client.read_until(b"hello")
    client.expect_silence(1.5 * HEAD_SECONDS)
    client.send(GET + b"\r\n")
    client.read_until(b"hello")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n" + b"\x00",
        UPGRADE.replace(b"GET", b"POST") + b"\r\n",
        UPGRADE + b"Content-Length: 3\r\n\r\nabc",
        UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_malformed_or_ambiguous_request_gets_400(echo: Echo, request_bytes: bytes) -> None:
    client = echo("lean").connect()

    client.send(request_bytes)

    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
