"""One suite over every server that an application with a gateway in it may run under."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.client import Client
from tests.patience import HANG_SECONDS, PATIENCE

from .application_process import SERVERS, RunningApplication, application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from websockets.asyncio.client import ClientConnection

APPLICATIONS = Path(__file__).parent / "applications"
DEAF = "hypercorn"
"""Its command line tells its worker of the end by a way of its own, and cuts who is left after 3 seconds."""

HASTY = "granian"
"""It may leave out what was sent just before the end, or end before the application is done with it."""


@pytest.fixture(scope="module", params=list(SERVERS))
def served(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[RunningApplication]:
    """The application under each server, for tests that leave it running."""
    directory = tmp_path_factory.mktemp("application")
    with application(directory, "embedding:app", path=APPLICATIONS, server=request.param) as running:
        yield running


@pytest.fixture(params=list(SERVERS))
def to_be_stopped(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningApplication]:
    """As ``served``, for one test that stops it."""
    with application(tmp_path, "embedding:app", path=APPLICATIONS, server=request.param) as running:
        yield running


@pytest.fixture(autouse=True)
async def _in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(3 * HANG_SECONDS):
        yield


def root(served: RunningApplication) -> str:
    return served.url.removesuffix("/realtime")


async def test_what_is_published_in_process_is_heard_over_a_websocket(served: RunningApplication) -> None:
    async with (
        Client(served.url) as client,
        client.subscribe("live/+") as messages,
        httpx2.AsyncClient() as http,
    ):
        assert (await http.post(f"{root(served)}/publish/live/1", json=[1])).status_code == 200
        assert (await anext(messages)).data == [1]
        await client.publish("live/2", "by a client")
        assert (await anext(messages)).data == "by a client"
        assert (await http.post(f"{served.url}/v1/topics/live/3", json=3)).status_code == 202
        assert (await anext(messages)).data == 3


async def test_many_messages_keep_their_order(served: RunningApplication) -> None:
    async with Client(served.url) as client, client.subscribe("order/#") as messages:
        for number in range(300):
            await client.publish("order/1", [number, "x" * 1000], acknowledge=False)
        assert [(await anext(messages)).data[0] for _ in range(300)] == list(range(300))


async def test_a_stream_is_read_from_its_beginning(served: RunningApplication) -> None:
    async with Client(served.url) as client:
        first = await client.publish("orders/begun", 1)
        await client.publish("orders/begun", 2)
        async with client.subscribe("orders/begun", start="earliest") as messages:
            assert [(await anext(messages)).data for _ in range(2)] == [1, 2]
        assert first.offset is not None


async def test_events_are_sent_as_they_come(served: RunningApplication) -> None:
    async with (
        httpx2.AsyncClient(timeout=HANG_SECONDS) as http,
        http.stream("GET", f"{served.url}/v1/events?filter=live/%23") as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        for number in range(3):
            async with httpx2.AsyncClient() as other:
                await other.post(f"{root(served)}/publish/live/e", json=number)
            while not (line := await anext(lines)).startswith("data:") or "live/e" not in line:
                pass
            assert json.loads(line[5:])["data"] == number


async def test_a_client_that_goes_is_noticed(served: RunningApplication) -> None:
    await _until_sessions(served, 0)
    async with connect(served.ws_url) as socket, httpx2.AsyncClient() as http:
        await socket.recv()
        async with http.stream("GET", f"{served.url}/v1/events?filter=a") as response:
            assert response.status_code == 200
            await _until_sessions(served, 2)
        await _until_sessions(served, 1)
    await _until_sessions(served, 0)


async def _until_sessions(served: RunningApplication, count: int) -> None:
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        while True:
            found = (await http.get(f"{served.url}/v1/connections")).json()["connections"]
            if len([each for each in found if each["transport"] != "http"]) == count:
                return
            await anyio.sleep(0.02)


async def _end(socket: ClientConnection) -> int:
    """The code that a connection ends with, whatever comes before."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        return 1006 if closed.rcvd is None else closed.rcvd.code


async def test_the_applications_own_websockets_work(served: RunningApplication) -> None:
    url = root(served).replace("http", "ws")
    async with connect(f"{url}/echo") as socket:
        for text in ("one", "two"):
            await socket.send(text)
            assert str(await socket.recv()).split(" ", 1)[1] == text


async def test_a_handshake_that_is_refused_gets_an_answer(served: RunningApplication) -> None:
    with pytest.raises(Exception, match=r"HTTP 40[03]"):
        async with connect(served.ws_url, subprotocols=["unheard-of"]):
            pass


async def test_the_application_decides_what_a_client_hears(served: RunningApplication) -> None:
    async with connect(served.ws_url, additional_headers={"cookie": "session=ann"}) as socket:
        await socket.recv()
        async with httpx2.AsyncClient() as http:
            told = await http.post(f"{root(served)}/subscribe_for/ann?filter=news/%23")
            assert told.text == "1"
            assert json.loads(await socket.recv())["op"] == "subscribed"
            await http.post(f"{root(served)}/publish/news/1", json="for ann")
        assert json.loads(await socket.recv())["data"] == "for ann"


async def test_clients_are_sent_away_and_the_server_ends(to_be_stopped: RunningApplication) -> None:
    """An open event stream would keep uvicorn as it comes from ever stopping."""
    served = to_be_stopped
    async with (
        connect(served.ws_url) as socket,
        httpx2.AsyncClient(timeout=HANG_SECONDS) as http,
        http.stream("GET", f"{served.url}/v1/events?filter=live/%23") as response,
    ):
        assert json.loads(await socket.recv())["op"] == "welcome"
        lines = response.aiter_lines()
        await anext(lines)
        began = anyio.current_time()
        served.terminate()
        patient = served.server not in {DEAF, HASTY}
        served.may_log_tracebacks = served.server == DEAF
        if patient:
            assert json.loads(await socket.recv())["op"] == "goaway"
        end = await _end(socket)
        assert not patient or end == 1001
        if patient:
            assert any("goaway" in line for line in [line async for line in lines])
            assert anyio.current_time() - began < 5 * PATIENCE  # they have gone by then
        code = await anyio.to_thread.run_sync(served.wait)
        assert code in served.good_codes
    assert served.server == HASTY or "the application has ended" in served.stdout_text()
    served.check()
