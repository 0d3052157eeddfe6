"""What plain HTTP may hold of a node: connections, bodies, responses, places to wait.

Spec: docs/operations.md, "Memory"; docs/security.md, "Limits".
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import httpx2

from .credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from .raw_client import until
from .test_limits import counted, refusal
from .test_tls import make_certificate, settings, tls_gateway, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import RunningGateway

__all__ = ["tls_gateway"]

HOOK = """
[[hooks]]
name = "signed"
scheme = "hmac"
header = "x-signature"
secret = "env:TEST_JWT_SECRET"
topic = "a/hook"
"""
SECONDS = 20.0


@contextmanager
def sending(gateway: RunningGateway, data: bytes, **options: int) -> Iterator[socket.socket]:
    """A connection that has sent ``data``, and no more."""
    with socket.socket() as plain:
        for name, value in options.items():
            plain.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        plain.settimeout(SECONDS)
        plain.connect(("127.0.0.1", gateway.port))
        plain.sendall(data)
        yield plain


def slow_body(length: int, begun: bytes = b"{") -> bytes:
    head = b"POST /v1/hooks/signed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % length
    return head + begun


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def everything(connection: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionError:
        pass
    return found


def answer_to(gateway: RunningGateway, data: bytes) -> bytes:
    """The first piece of what a new connection gets."""
    with sending(gateway, data) as connection:
        return connection.recv(65536)


def metric(gateway: RunningGateway, name: str) -> float:
    text = httpx2.get(f"{gateway.url}/metrics").text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"gateway_{name} ")))


async def reaches(gateway: RunningGateway, name: str, value: Callable[[float], bool]) -> None:
    await until(lambda: value(metric(gateway, name)))


async def test_connections_that_are_no_sessions_share_a_limit(gateway_process) -> None:
    gateway = gateway_process("limits.http_connections = 20\nlimits.connections = 2\n" + HOOK, ENVIRONMENT)
    with ExitStack() as slow:
        for _ in range(20):
            slow.enter_context(sending(gateway, slow_body(1000)))
        refused = answer_to(gateway, get("/openapi.json"))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in refused
        assert b'"code":"unavailable"' in refused
        # What an orchestrator asks, and what has a limit of its own.
        assert answer_to(gateway, get("/livez")).startswith(b"HTTP/1.1 200 ")
        assert answer_to(gateway, get("/readyz")).startswith(b"HTTP/1.1 200 ")
        async with client(gateway) as first:
            assert (await first.say(op="ping"))["op"] == "pong"
            with sending(gateway, get("/v1/events?filter=a")) as events:
                assert events.recv(65536).startswith(b"HTTP/1.1 200 ")
                assert (await refusal(gateway))[0] == 503
    await until(lambda: answer_to(gateway, get("/openapi.json")).startswith(b"HTTP/1.1 200 "))
    assert counted(gateway, "http_connections") >= 1


async def test_sessions_leave_room_for_http(gateway_process) -> None:
    gateway = gateway_process("limits.http_connections = 3\nlimits.connections = 5\n")
    async with client(gateway), client(gateway), client(gateway), client(gateway), client(gateway):
        assert (await refusal(gateway))[0] == 503
        for _ in range(10):
            assert httpx2.post(f"{gateway.url}/v1/topics/a", content=b"1").status_code == 202
        assert metric(gateway, "http_connections") <= 3
    assert counted(gateway, "http_connections") == 0


async def test_requests_that_last_take_the_room_of_http_and_not_of_sessions(gateway_process) -> None:
    gateway = gateway_process("limits.http_connections = 6\nlimits.connections = 2\n")
    lines = (
        b"POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with ExitStack() as lasting:
        for _ in range(5):
            lasting.enter_context(sending(gateway, lines))
        await until(lambda: len(httpx2.get(f"{gateway.url}/v1/connections").json()["connections"]) == 5)
        assert metric(gateway, "http_connections") >= 5
        assert metric(gateway, "connections") == 0
        async with client(gateway) as first:
            assert (await first.say(op="ping"))["op"] == "pong"
        lasting.enter_context(sending(gateway, lines))
        assert answer_to(gateway, get("/openapi.json")).startswith(b"HTTP/1.1 503 ")


async def test_who_waits_for_another_request_gives_way(gateway_process) -> None:
    gateway = gateway_process("limits.http_connections = 3\n")
    with ExitStack() as quiet:
        kept = [quiet.enter_context(sending(gateway, get("/livez"))) for _ in range(3)]
        for connection in kept:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert answer_to(gateway, get("/openapi.json")).startswith(b"HTTP/1.1 200 ")
        assert kept[0].recv(1) == b""
        kept[2].sendall(get("/livez"))
        assert kept[2].recv(65536).startswith(b"HTTP/1.1 200 ")


async def test_the_newest_is_answered_however_many_say_nothing(gateway_process) -> None:
    gateway = gateway_process("limits.http_connections = 1\n" + HOOK, ENVIRONMENT)
    with ExitStack() as silent:
        silent.enter_context(sending(gateway, slow_body(1000)))
        first = silent.enter_context(sending(gateway, b"GET"))
        for _ in range(300):
            silent.enter_context(sending(gateway, b"GET"))
        assert answer_to(gateway, get("/livez")).startswith(b"HTTP/1.1 200 ")
        assert answer_to(gateway, get("/")).startswith(b"HTTP/1.1 503 ")
        assert everything(first) == b""


async def test_connections_of_an_address_count_whatever_they_are(gateway_process) -> None:
    gateway = gateway_process("limits.connections_per_address = 3\n")
    async with client(gateway):
        with sending(gateway, b"GET"), sending(gateway, b"GET") as last:
            await until(lambda: answer_to(gateway, get("/")).startswith(b"HTTP/1.1 429 "))
            assert (await refusal(gateway))[0] == 429
            assert answer_to(gateway, get("/readyz")).startswith(b"HTTP/1.1 200 ")
            last.close()
            await until(lambda: answer_to(gateway, get("/")).startswith(b"HTTP/1.1 200 "))


async def test_a_proxy_may_have_any_number_of_connections(gateway_process) -> None:
    gateway = gateway_process('limits.connections_per_address = 1\nserver.trusted_proxies = ["127.0.0.1"]\n')
    with sending(gateway, b"GET"), sending(gateway, b"GET"):
        assert answer_to(gateway, get("/")).startswith(b"HTTP/1.1 200 ")


async def test_a_body_has_a_time_for_the_whole_and_lines_have_not(gateway_process) -> None:
    gateway = gateway_process('limits.body_timeout = "1s"\n' + HOOK, ENVIRONMENT)
    pause, before = 1.0, 0
    while pause > 0.7:  # neither has a second without a byte: that is asked of the machine
        before = counted(gateway, "body_timeout")
        answer, told, pause = drip(gateway)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert b'"failed":0' in told
    assert counted(gateway, "body_timeout") == before + 1


def test_a_body_that_stops_is_refused_and_counted(gateway_process) -> None:
    gateway = gateway_process('limits.body_timeout = "1s"\n' + HOOK, ENVIRONMENT)
    assert answer_to(gateway, slow_body(1000)).startswith(b"HTTP/1.1 408 ")
    assert counted(gateway, "body_timeout") == 1


def drip(gateway: RunningGateway) -> tuple[bytes, bytes, float]:
    """Send a body and lines a little at a time; what each is answered, and the longest pause."""
    lines = (
        b"POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    answer, told, pause = b"", b"", 0.0
    last = time.monotonic()
    deadline = last + SECONDS
    with (
        sending(gateway, slow_body(1000)) as dripping,
        sending(gateway, lines) as publishing,
        suppress(ConnectionError),
    ):
        dripping.settimeout(0.2)
        while not answer and time.monotonic() < deadline:
            publishing.sendall(b'1b\r\n{"topic":"a/b","data":"c"}\n\r\n')
            with suppress(TimeoutError):
                dripping.sendall(b" ")
                answer = dripping.recv(65536)
            # Neither did the gateway stand still.
            assert answer_to(gateway, get("/livez")).startswith(b"HTTP/1.1 200 ")
            last, pause = time.monotonic(), max(pause, time.monotonic() - last)
        publishing.sendall(b"0\r\n\r\n")
        told = publishing.recv(65536)
    return answer, told, max(pause, time.monotonic() - last)


async def test_bodies_that_nobody_has_verified_are_bounded_in_sum(gateway_process) -> None:
    mib = 1024 * 1024
    gateway = gateway_process('limits.unverified_bytes = "4MiB"\n' + SETTINGS + HOOK, ENVIRONMENT)
    before = gateway.rss()
    with ExitStack() as slow:
        held = [
            slow.enter_context(sending(gateway, slow_body(mib, b"x" * (mib - 100_000)))) for _ in range(40)
        ]
        # The oldest gives way, so those who send their body in one go are served all the while.
        assert everything(held[0]).startswith(b"HTTP/1.1 503 ")
        assert answer_to(gateway, slow_body(8, b"x" * 8)).startswith(b"HTTP/1.1 401 ")
        published = httpx2.post(
            f"{gateway.url}/v1/topics/a/b", content=b"x" * 60_000, headers=bearer(token("ann"))
        )
        assert published.status_code == 202
        await until(lambda: counted(gateway, "unverified_bytes") >= 36)
        assert gateway.rss() - before < 24 * mib


async def test_a_response_that_nobody_reads_is_cut(gateway_process) -> None:
    gateway = gateway_process('limits.write_timeout = "1s"\n')
    # Too little for the buffer's mark in one case, and more than it in the other.
    last = get("/openapi.json").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with (
        sending(gateway, get("/openapi.json") * 200, SO_RCVBUF=2048),
        sending(gateway, get("/openapi.json") + last, SO_RCVBUF=2048),
    ):
        await until(lambda: counted(gateway, "write_timeout") == 2)
        await reaches(gateway, "unread_response_bytes", lambda value: value == 0)


async def test_unread_responses_are_bounded_in_sum(gateway_process) -> None:
    gateway = gateway_process('limits.response_bytes = "1MiB"\n')
    with ExitStack() as unread:
        for _ in range(40):
            unread.enter_context(sending(gateway, get("/openapi.json") * 200, SO_RCVBUF=2048))
        await until(lambda: counted(gateway, "response_bytes") >= 1)
        assert metric(gateway, "unread_response_bytes") <= 1024 * 1024


async def test_tls_handshakes_are_connections_too(tls_gateway, tmp_path) -> None:
    make_certificate(tmp_path, "node")
    gateway = tls_gateway("limits.http_connections = 5\n" + settings(tmp_path))

    def encrypted(path: str) -> httpx2.Response:
        return httpx2.get(f"https://127.0.0.1:{gateway.port}{path}", verify=trusting())

    def shown(name: str) -> float:
        lines = encrypted("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"gateway_{name} ")))

    hello = b"\x16\x03\x01\x02\x00\x01\x00"
    with ExitStack() as stalled:
        for _ in range(8):
            stalled.enter_context(sending(gateway, hello))
        await until(lambda: shown("tls_handshakes") == 8)
        assert encrypted("/").status_code == 503
        assert encrypted("/livez").status_code == 200
    await until(lambda: shown("tls_handshakes") == 0)
    assert encrypted("/").status_code == 200
    assert shown("tls_handshakes_failed_total") == 8


async def test_one_subject_leaves_places_to_wait_for_others(gateway_process) -> None:
    gateway = gateway_process(
        'limits.long_polls = 4\nstore.url = "memory:"\n'
        + SETTINGS
        + '[[streams]]\nname = "s"\nfilter = "a/#"\n',
        ENVIRONMENT,
    )

    def wait(subject: str) -> bytes:
        head = "GET /v1/streams/s/messages?from=new&wait=30 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        return f"{head}Authorization: Bearer {token(subject)}\r\n\r\n".encode()

    with ExitStack() as waiting:
        for _ in range(2):
            waiting.enter_context(sending(gateway, wait("ann")))
        await reaches(gateway, "store_readers_waiting", lambda value: value == 2)
        refused = answer_to(gateway, wait("ann"))
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nretry-after: 1\r\n" in refused
        waiting.enter_context(sending(gateway, wait("bob")))
        await reaches(gateway, "store_readers_waiting", lambda value: value == 3)
    assert counted(gateway, "long_polls") == 1
