"""The same promises whatever else the environment holds: other packages, the interpreter's switches.

All tests run with sniffio installed, which other libraries bring along (`pyproject.toml`, group `test`).
"""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import httpx2
import pytest
import sniffio
from anyio import to_thread
from websockets.asyncio.client import connect

from tests.patience import HANG_SECONDS

from .event_client import events

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import StartGateway

STREAM = '[[streams]]\nname = "orders"\nfilter = "orders/#"\n'

ENVIRONMENTS = {
    "plain": {},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "development": {"PYTHONDEVMODE": "1"},
    "asyncio-debug": {"PYTHONASYNCIODEBUG": "1"},
    "no-uvloop": {"PYTHONPATH": "{hidden}"},
    "c-locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("way", ["direct", "asgi"])
async def test_captured_topics_are_published_and_heard(
    gateway_process: StartGateway, tmp_path: Path, name: str, way: str
) -> None:
    assert sniffio.current_async_library() == "asyncio"
    (tmp_path / "uvloop.py").write_text("raise ImportError('no uvloop here')\n", "utf-8")
    environment = {key: value.format(hidden=tmp_path) for key, value in ENVIRONMENTS[name].items()}
    node = gateway_process(STREAM, environment, way=way)
    async with connect(node.ws_url) as websocket, events(node, "orders/#", "live/#") as stream:
        for command in ({"op": "subscribe", "filter": "orders/+", "ref": 1}, {"op": "ping", "ref": 2}):
            await websocket.send(json.dumps(command))
        async with asyncio.timeout(HANG_SECONDS):
            answers = [json.loads(await websocket.recv())["op"] for _ in range(3)]
        assert answers == ["welcome", "subscribed", "pong"]
        for _ in range(2):
            await stream.hear_op("subscribed")
        async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
            items = [{"topic": topic, "data": "ä"} for topic in ("orders/a", "live/a")]
            results = (await http.post(f"{node.url}/v1/publish", json=items)).json()["results"]
        assert results[0]["offset"] == 1
        async with asyncio.timeout(HANG_SECONDS):
            assert json.loads(await websocket.recv())["data"] == "ä"
        heard = [await stream.hear_op("message"), await stream.hear_op("message")]
        assert {event.data["topic"] for event in heard} == {"orders/a", "live/a"}
    node.terminate()
    # Uvicorn by itself ends by the signal that it was sent.
    assert await to_thread.run_sync(node.wait) == (0 if way == "direct" else -signal.SIGTERM)
    assert "Warning" not in node.output()
