from __future__ import annotations

from typing import Any

import pytest

from gateway.transports.server.proxies import ProxyChain, is_local

NETWORKS = ["10.0.0.0/8", "::1/128", "127.0.0.1"]


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Stands for the application behind it."""


def client_address(peer: str, *lines: str) -> str:
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    return ProxyChain(NETWORKS).client_address(peer, headers)


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.1.1.1, 10.9.9.9"], "10.1.1.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["unknown, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["x" * 5000], "10.0.0.1"),
        ("testclient", ["198.51.100.1"], "testclient"),
    ],
)
def test_only_what_trusted_proxies_say_counts(peer: str, lines: list[str], client: str) -> None:
    assert client_address(peer, *lines) == client


@pytest.mark.parametrize(
    ("peer", "header", "local"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("::ffff:127.0.0.1", None, True),
        ("192.0.2.1", None, False),
        ("testclient", None, False),
        ("127.0.0.1", b"x-forwarded-for", False),
        ("127.0.0.1", b"Forwarded", False),
        ("127.0.0.1", b"via", False),
    ],
)
def test_local_is_who_asks_for_himself(peer: str, header: bytes | None, local: bool) -> None:
    headers = [] if header is None else [(header, b"127.0.0.1")]
    assert is_local({"type": "http", "client": (peer, 1), "headers": headers}) is local


def test_nobody_is_not_local() -> None:
    assert not is_local({"type": "http", "client": None, "headers": []})
