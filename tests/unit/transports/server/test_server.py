"""Who may listen on a port with whom; on loopback, without a connection."""

from __future__ import annotations

import socket

import pytest

from gateway.app.arguments import dead_peer_seconds
from gateway.settings import Settings
from gateway.transports.server.server import listen, reserve
from tests.patience import HANG_SECONDS


def close(*groups: list[socket.socket]) -> None:
    for group in groups:
        for each in group:
            each.close()


def test_those_who_share_listen_on_a_reserved_port_together() -> None:
    reserved = reserve("127.0.0.1", 0)
    port = reserved[0].getsockname()[1]
    one, other = (listen("127.0.0.1", port, shared=True) for _ in range(2))
    assert {each.getsockname()[1] for each in (*one, *other)} == {port}
    close(reserved, one, other)


def test_a_reserved_port_takes_no_connection() -> None:
    reserved = reserve("127.0.0.1", 0)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(reserved[0].getsockname()):
        pass
    close(reserved)


def test_who_does_not_share_can_not_listen_there_too() -> None:
    reserved = reserve("127.0.0.1", 0)
    port = reserved[0].getsockname()[1]
    listening = listen("127.0.0.1", port, shared=True)
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)
    close(reserved, listening)


@pytest.mark.parametrize("shared", [False, True])
def test_what_somebody_listens_on_is_not_reserved(shared: bool) -> None:
    listening = listen("127.0.0.1", 0, shared=shared)
    with pytest.raises(OSError, match="in use"):
        reserve("127.0.0.1", listening[0].getsockname()[1])
    close(listening)


def test_what_is_no_address_of_this_machine_is_not_reserved() -> None:
    with pytest.raises(OSError, match="assign"):
        reserve("192.0.2.1", 0)


@pytest.mark.parametrize("shared", [False, True])
def test_every_address_is_every_address_of_ipv4_too(shared: bool) -> None:
    reserved = reserve("::", 0) if shared else []
    listening = listen("::", reserved[0].getsockname()[1] if shared else 0, shared=shared)
    port = listening[0].getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), timeout=HANG_SECONDS).close()
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)
    close(reserved, listening)


def test_one_address_of_ipv6_takes_no_ipv4() -> None:
    listening = listen("::1", 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listening[0].getsockname()[1]), timeout=HANG_SECONDS)
    close(listening)


def test_the_kernel_is_more_patient_than_the_gateway() -> None:
    """Linux cuts a peer that answers and doesn't read, too: it must not be quicker than our own limits."""
    live = Settings(limits={"write_timeout": 45.0})
    kept = Settings(streams=[{"name": "s", "filter": "s/#"}], limits={"stalled_timeout": 600.0})
    for settings, patience in ((live, 45), (kept, 600)):
        (listener,) = listen("127.0.0.1", 0, dead_peer_seconds=dead_peer_seconds(settings))
        with listener:
            untaken = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert untaken == (patience + 30) * 1000
