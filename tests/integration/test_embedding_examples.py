"""The examples of docs/embedding.md, each run as its first lines say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from gateway.client import Client
from tests.patience import HANG_SECONDS

from .application_process import application

if TYPE_CHECKING:
    from pathlib import Path


async def post(url: str, body: object) -> httpx2.Response:
    async with httpx2.AsyncClient() as http:
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
