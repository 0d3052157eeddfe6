from __future__ import annotations

import pytest

from gateway.client.address import websocket_address
from gateway.core.loopback import is_loopback


@pytest.mark.parametrize(
    ("url", "address"),
    [
        # The same table as in web/client/test/address.test.ts: one rule for both libraries.
        ("http://gateway.example", "ws://gateway.example/v1/ws"),
        ("https://gateway.example/", "wss://gateway.example/v1/ws"),
        ("https://gateway.example/realtime", "wss://gateway.example/realtime/v1/ws"),
        ("https://gateway.example/realtime/", "wss://gateway.example/realtime/v1/ws"),
        ("https://gateway.example/realtime/v1/ws", "wss://gateway.example/realtime/v1/ws"),
        ("ws://gateway.example", "ws://gateway.example/v1/ws"),
        ("wss://gateway.example/other", "wss://gateway.example/other"),
        ("wss://gateway.example:8443?tenant=a", "wss://gateway.example:8443/v1/ws?tenant=a"),
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/ws"),
        ("http://127.0.0.1:8080/", "ws://127.0.0.1:8080/v1/ws"),
        ("https://push.example", "wss://push.example/v1/ws"),
        ("https://example.com/push/", "wss://example.com/push/v1/ws"),
        ("https://example.com/push/v1/ws", "wss://example.com/push/v1/ws"),
        ("ws://[::1]:8080", "ws://[::1]:8080/v1/ws"),
        ("wss://example.com/other/door", "wss://example.com/other/door"),
        ("wss://example.com/v1/ws?shard=3", "wss://example.com/v1/ws?shard=3"),
    ],
)
def test_an_address_names_the_socket(url: str, address: str) -> None:
    assert websocket_address(url) == address
    assert websocket_address(address) == address


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://a", "http://", "ws:///v1/ws", "http://a/#b", ""])
def test_what_names_no_gateway_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="gateway URL"):
        websocket_address(url)


def test_credentials_in_the_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="token=") as raised:
        websocket_address("https://user:hush@example.com")
    assert "hush" not in str(raised.value)


def test_loopback_is_known_by_name_and_address() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.8.8.8", "::1"]))
    assert not any(map(is_loopback, ["example.com", "10.0.0.1", "localhost.example"]))
