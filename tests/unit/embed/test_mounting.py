"""Whatever path a gateway is mounted under, and whatever stands before that."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from gateway.embed import Gateway, Stream
from gateway.embed.discovery import websocket_paths

HOST = "http://localhost"
SETTINGS: dict[str, Any] = {
    "streams": [Stream("orders", filter="orders/#")],
    "store": {"url": "memory:"},
}


async def bare(scope, receive, send) -> None:
    assert scope["type"] == "http", "all that it serves"
    await PlainTextResponse("bare")(scope, receive, send)


def mounted(by: str, prefix: str) -> Any:
    gateway = Gateway(**SETTINGS)
    if by == "gateway.mount":
        return gateway.mount(bare, prefix)
    return Starlette(routes=[Mount(prefix, gateway)], lifespan=gateway.lifespan)


def behind_proxy(app: Any, root: str) -> Any:
    """``app`` behind a proxy that takes ``root`` off: told by FastAPI's ``root_path``, or hypercorn's."""

    async def serve(scope, receive, send) -> None:
        await app({**scope, "root_path": root}, receive, send)

    return serve


BY = pytest.mark.parametrize("by", ["starlette", "gateway.mount"])


@BY
@pytest.mark.parametrize("root", ["", "/api", "/à pi"])
@pytest.mark.parametrize("prefix", ["/a b", "/échelle", "/100%", "/x(+)*", "/deep/er"])
def test_everything_is_below_whatever_path(by: str, prefix: str, root: str) -> None:
    below = quote(prefix)
    with TestClient(behind_proxy(mounted(by, prefix), root), base_url=HOST) as client:
        assert client.get(f"{below}/livez").status_code == 200
        assert client.post(f"{below}/v1/topics/orders/a%20b%2Fc", json=1).status_code == 201
        assert client.post(f"{below}/v1/topics/plain", json=1).status_code == 202
        topics = client.get(f"{below}/v1/streams/orders/topics").json()["topics"]
        assert [each["topic"] for each in topics] == ["orders/a b/c"]
        with client.websocket_connect(f"ws://localhost{below}/v1/ws") as socket:
            assert socket.receive_json()["op"] == "welcome"
        server = client.get(f"{below}/openapi.json").json()["servers"][0]["url"]
        assert unquote(server) == root + prefix
        assert server.isascii()
        assert " " not in server
        # A proxy's rules for paths would not see this in it.
        assert client.get(f"{below}/v1/%73treams").status_code == 404
        assert client.get(f"{below}%2Fv1/streams").status_code == 404


def test_its_beginning_is_where_the_path_is_whole() -> None:
    with TestClient(mounted("gateway.mount", "/100% a"), base_url=HOST, root_path="/api") as client:
        answer = client.get("/api/100%25%20a", follow_redirects=False)
        assert answer.headers["location"] == "/api/100%25%20a/"
        assert client.get("/api/100%25%20a/livez").status_code == 200
        assert client.get("/apis/100%25%20a/livez").text == "bare"


@BY
def test_nothing_is_found_where_the_path_is_encoded_without_need(by: str) -> None:
    with TestClient(mounted(by, "/realtime"), base_url=HOST) as client:
        for path in ("/%72ealtime/v1/connections", "/realtime/%761/connections", "/%72ealtime/v1/topics/a"):
            assert client.get(path).status_code == 404
        assert client.get("/realtime/v1/connections").status_code == 200


def test_servers_look_for_its_websockets_as_browsers_write_them() -> None:
    app = mounted("starlette", "/a b/échelle(+)")
    assert websocket_paths(app) == {b"/a%20b/%C3%A9chelle(+)/v1/ws"}


def test_an_application_may_be_done_with_its_lifespan_once_it_has_started() -> None:
    async def brief(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})

    gateway = Gateway()
    with TestClient(gateway.mount(brief, "/realtime"), base_url=HOST) as client:
        assert client.post("/realtime/v1/topics/a", json=1).status_code == 202
        assert gateway.running
    assert not gateway.running
