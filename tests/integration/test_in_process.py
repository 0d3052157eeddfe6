"""The application without any server: Starlette's test client, for applications that embed the gateway."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gateway.app.node import build
from gateway.settings import Settings


def test_publish_and_subscribe_in_the_test_client() -> None:
    with TestClient(build(Settings()).asgi, base_url="http://localhost") as client:
        with client.websocket_connect("ws://localhost/v1/ws", subprotocols=["gateway.v1"]) as socket:
            assert socket.accepted_subprotocol == "gateway.v1"
            assert socket.receive_json()["op"] == "welcome"
            socket.send_json({"op": "subscribe", "filter": "in/+"})
            assert socket.receive_json()["op"] == "subscribed"
            numbers = range(100)
            for number in numbers:
                assert client.post("/v1/topics/in/process", json=number).status_code == 202
            assert [socket.receive_json()["data"] for _ in numbers] == list(numbers)
            socket.send_text("not json")
            assert socket.receive_json()["code"] == "bad_frame"
            socket.send_text("x" * 200_000)
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            assert closed.value.code == 1009
        with client.websocket_connect("ws://localhost/v1/ws") as socket:
            assert socket.receive_json()["op"] == "welcome"


def test_an_unknown_subprotocol_is_refused_before_the_upgrade() -> None:
    with (
        TestClient(build(Settings()).asgi, base_url="http://localhost") as client,
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://localhost/v1/ws", subprotocols=["mqtt"]),
    ):
        pass
