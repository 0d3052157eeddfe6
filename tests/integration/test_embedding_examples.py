"""The examples of docs/embedding.md, each run as its first lines say."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from starlette.testclient import TestClient

from gateway.client import Client
from tests.patience import HANG_SECONDS

from .application_process import ROOT, application

if TYPE_CHECKING:
    from pathlib import Path


async def post(url: str, body: object) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        return await http.post(url, json=body)


async def test_the_shop_of_fastapi(tmp_path: Path) -> None:
    with application(tmp_path, "fastapi_shop:app") as shop:
        root = shop.url.removesuffix("/realtime")
        async with Client(shop.url) as client, client.subscribe("orders/#", start="earliest") as messages:
            with anyio.fail_after(HANG_SECONDS):
                assert (await post(f"{root}/orders", {"region": "eu", "total": 42})).json() == {"offset": 1}
                assert (await post(f"{root}/orders/eu/cancelled", None)).json() == {"offset": 2}
                first, second = [await anext(messages) for _ in range(2)]
        assert (first.topic, first.data) == ("orders/eu/created", {"region": "eu", "total": 42})
        assert (second.topic, second.data) == ("orders/eu/cancelled", {"region": "eu"})
        assert (await post(f"{root}/orders", {"region": "eu"})).status_code == 422
        await anyio.to_thread.run_sync(shop.stop)


@pytest.mark.parametrize(
    ("app", "paths"),
    [
        ("starlette_board", ["/notices/main"]),
        ("litestar_board", ["/notices/main"]),
        ("django_board", ["/notices/main", "/async/notices/main"]),
    ],
)
async def test_the_boards_of_other_frameworks(tmp_path: Path, app: str, paths: list[str]) -> None:
    with application(tmp_path, f"{app}:app") as board:
        root = board.url.removesuffix("/realtime")
        async with Client(board.url) as client, client.subscribe("notices/+") as messages:
            for path in paths:
                assert (await post(root + path, {"text": path})).status_code == 202
                with anyio.fail_after(HANG_SECONDS):
                    message = await anext(messages)
                assert (message.topic, message.data) == ("notices/main", {"text": path})
        await anyio.to_thread.run_sync(board.stop)


def test_the_lines_of_the_readme() -> None:
    blocks = (ROOT / "README.md").read_text("utf-8").split("```python\n")[1:]
    [source] = [block.partition("```")[0] for block in blocks if "gateway.embed" in block]
    source = source.replace("Gateway(streams=", 'Gateway(store={"url": "memory:"}, streams=')
    module = ModuleType("readme_shop")
    sys.modules[module.__name__] = module  # where FastAPI looks up what annotations name
    try:
        exec(compile(source, "README.md", "exec", dont_inherit=True), module.__dict__)
        with TestClient(module.app) as client:
            headers = {"cookie": "user=ann"}
            with client.websocket_connect("/realtime/v1/ws", headers=headers) as socket:
                socket.receive_json()
                for topic_filter, op in (("secrets", "error"), ("orders/+/created", "subscribed")):
                    socket.send_json({"op": "subscribe", "filter": topic_filter})
                    assert socket.receive_json()["op"] == op
                assert client.post("/orders", json={"region": "eu", "total": 42}).status_code == 200
                assert socket.receive_json()["data"] == {"region": "eu", "total": 42}
            assert client.get("/realtime/v1/streams/orders/messages").status_code == 401
    finally:
        del sys.modules[module.__name__]


def test_the_tests_of_the_shop_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    shop = ROOT / "examples" / "shop"
    done = subprocess.run(
        command, cwd=shop, capture_output=True, text=True, timeout=6 * HANG_SECONDS, check=False
    )
    assert (done.returncode, "6 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert not list(shop.glob("*.db*"))
