"""``server.host = "::"``: one socket for IPv6 and IPv4, behind which an IPv4 client is one."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from tests.patience import HANG_SECONDS

from .process_tree import wait_for

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway


@pytest.mark.parametrize("workers", [1, 2])
async def test_both_families_are_served(gateway_process: StartGateway, workers: int) -> None:
    gateway = gateway_process(f"server.insecure = true\nserver.workers = {workers}\n", host="::")
    for host in ("127.0.0.1", "::1"):
        connection = http.client.HTTPConnection(host, gateway.port, timeout=HANG_SECONDS)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200
        connection.close()
    for host in ("127.0.0.1", "[::1]"):
        async with connect(f"ws://{host}:{gateway.port}/v1/ws", ping_interval=None) as client:
            session = json.loads(await client.recv())["session"]
            # The other worker may have been too late to tell of its own.
            wait_for(lambda session=session: peers(gateway, session))
            (peer,) = peers(gateway, session)
            assert peer.startswith(f"{host.strip('[]')}:")


def peers(gateway: RunningGateway, session: str) -> list[str]:
    ask = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    ask.request("GET", "/v1/connections?limit=1000")
    listed = json.load(ask.getresponse())["connections"]
    ask.close()
    return [each["peer"] for each in listed if each["session"] == session]
