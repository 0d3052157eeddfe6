"""A node's life as docs/operations.md promises it: readiness, drain, exit status."""

from __future__ import annotations

import json
import signal
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from anyio import to_thread
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.patience import HANG_SECONDS, PATIENCE

from .process_tree import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_the_probes_answer(gateway_process) -> None:
    gateway = gateway_process()
    assert httpx2.get(f"{gateway.url}/livez").status_code == 200
    ready = httpx2.get(f"{gateway.url}/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert "gateway_" in httpx2.get(f"{gateway.url}/metrics").text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_node_ends_at_once_and_with_zero(gateway_process, number: signal.Signals) -> None:
    """Long before the time is over that clients would have."""
    gateway = gateway_process("[server]\ndrain_seconds = 300\n")
    gateway.process.send_signal(number)
    assert gateway.wait() == 0


async def test_a_drain_says_goodbye_to_every_client(gateway_process) -> None:
    gateway = gateway_process("[server]\ndrain_seconds = 300\n")
    async with connect(gateway.ws_url) as one, connect(gateway.ws_url) as other:
        for client in (one, other):
            assert json.loads(await client.recv())["op"] == "welcome"
        gateway.terminate()
        for client in (one, other):
            with anyio.fail_after(HANG_SECONDS):
                farewell = json.loads(await client.recv())
                assert (farewell["op"], farewell["reason"]) == ("goaway", "draining")
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
    assert await to_thread.run_sync(gateway.wait) == 0


@contextmanager
def stuck_client(port: int) -> Iterator[None]:
    """A WebSocket that never answers anything."""
    with socket.create_connection(("127.0.0.1", port)) as stuck:
        stuck.sendall(
            b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        stuck.settimeout(HANG_SECONDS)
        assert stuck.recv(4096).startswith(b"HTTP/1.1 101")
        yield


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_ctrl_c_waits_for_nobody_and_ends_in_order(gateway_process, workers: int) -> None:
    gateway = gateway_process(f"[server]\ndrain_seconds = 300\nworkers = {workers}\n")
    with stuck_client(gateway.port):
        gateway.process.send_signal(signal.SIGINT)
        wait_for(lambda: gateway.output().count('"draining"') == workers)
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.wait() == 0


def test_a_stuck_client_does_not_prolong_the_drain(gateway_process) -> None:
    gateway = gateway_process("[server]\ndrain_seconds = 1\n")
    with stuck_client(gateway.port):
        begin = time.monotonic()
        gateway.stop()  # the client neither reads nor answers the close
        assert time.monotonic() - begin < PATIENCE * (1 + 2)


def test_a_killed_node_starts_again_on_its_port(gateway_process) -> None:
    gateway = gateway_process()
    before = gateway.pid
    gateway.kill()
    gateway.start()
    assert gateway.pid != before
    assert gateway.rss() > 10 * 1024 * 1024
    gateway.restart()
    gateway.stop()


def test_settings_that_are_wrong_end_it_before_it_listens(gateway_process) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"(?s)ended with 2.*topic_levles.*topic_levels"):
        gateway_process("[limits]\ntopic_levles = 3\n")
