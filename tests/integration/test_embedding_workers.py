"""Several processes of one application are one gateway."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from websockets.asyncio.client import connect

from gateway.client import Client
from tests.patience import HANG_SECONDS

from .application_process import SERVERS, application

if TYPE_CHECKING:
    from tests.redis_process import RunningRedis

APPLICATIONS = Path(__file__).parent / "applications"


async def post(url: str) -> int:
    # A connection of its own each time: any worker may take it.
    async with httpx2.AsyncClient() as http:
        return (await http.post(url)).json()


async def test_workers_of_gateway_serve_are_one_gateway(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(
        SERVERS, "workers", "gateway serve --app {app} --host 127.0.0.1 --port {port} --workers 2"
    )
    with application(tmp_path, "live:app", path=APPLICATIONS, server="workers") as served:
        root = served.url.removesuffix("/realtime")
        async with asyncio.timeout(3 * HANG_SECONDS), AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(
                    connect(served.ws_url, additional_headers={"cookie": f"session={number}"})
                )
                for number in range(8)
            ]
            for number, socket in enumerate(sockets):
                assert json.loads(await socket.recv())["op"] == "welcome"
                # Whichever worker is asked, and whichever has the client.
                while await post(f"{root}/subscribe_for/{number}") != 1:  # noqa: ASYNC110 - other processes
                    await anyio.sleep(0.1)
            pids = set()
            while len(pids) < 2:
                pids.add(await post(f"{root}/publish/told/by"))
            for socket in sockets:
                heard = set()
                while heard != pids:
                    frame = json.loads(await socket.recv())
                    heard |= {frame["data"]} if frame["op"] == "message" else set()
        await anyio.to_thread.run_sync(served.stop)


async def test_applications_under_any_server_are_joined_by_redis(
    tmp_path: Path, redis_server: RunningRedis
) -> None:
    with ExitStack() as stack:
        one, other = [
            stack.enter_context(
                application(
                    _made(tmp_path / name),
                    "embedding:app",
                    path=APPLICATIONS,
                    environment={"APPLICATION_REDIS": redis_server.url},
                )
            )
            for name in ("one", "other")
        ]
        async with (
            asyncio.timeout(3 * HANG_SECONDS),
            Client(one.url) as client,
            client.subscribe("#") as messages,
            httpx2.AsyncClient() as http,
        ):
            root = other.url.removesuffix("/realtime")
            await http.post(f"{root}/publish/live/1", json="live")
            await http.post(f"{root}/publish/orders/1", json="kept")
            assert {(await anext(messages)).data for _ in range(2)} == {"live", "kept"}


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nowhere:app", "Could not import module"),
        ("live:nothing", "not found in module"),
        ("live:publish", "no gateway is mounted"),
        ("several:app --redis redis://127.0.0.1:1/0", "give each a prefix of its own"),
    ],
)
async def test_an_application_that_cannot_be_served_is_told_of(tmp_path: Path, target, reason) -> None:
    ended = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-m", "gateway", "serve", "--app", *target.split()],
            cwd=APPLICATIONS,
            capture_output=True,
            text=True,
            timeout=3 * HANG_SECONDS,
            check=False,
        )
    )
    assert ended.returncode == 2
    assert reason in ended.stderr
