"""A process that has no file descriptor left for connections: it says so, and serves those that it has."""

from __future__ import annotations

import http.client
import json
import os
import resource
import time
from contextlib import AsyncExitStack, ExitStack, closing
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

from tests.patience import HANG_SECONDS

from .raw_client import until

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

LOGGED = "no file descriptors are left"
COUNTED = 'gateway_refused_total{limit="open_files"}'
ROOM = 40
WINDOW_SECONDS = 10
"""Of records that peers can cause, a few lines are logged in each."""


def limit(gateway: RunningGateway, *, more: int) -> int:
    """Let the gateway have about so many ``more`` descriptors than it has now; the limit that it had."""
    taken = set(map(int, os.listdir(f"/proc/{gateway.pid}/fd")))
    lowest_free = next(number for number in range(len(taken) + 1) if number not in taken)
    most = lowest_free + more
    before, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (most, hard))
    return before


def opened(gateway: RunningGateway) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS))


def answer_of_a_new_one(gateway: RunningGateway) -> int | None:
    with opened(gateway) as connection:
        return answer(connection)


def answer(connection: http.client.HTTPConnection, path: str = "/livez") -> int | None:
    """The status of an answer, None where the connection was cut."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return None
    return response.status


def counted(connection: http.client.HTTPConnection) -> float:
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith(COUNTED))


async def test_the_last_descriptors_are_kept(gateway_process: StartGateway) -> None:
    gateway = gateway_process()
    began = time.monotonic()
    async with connect(gateway.ws_url) as client, AsyncExitStack() as stack:
        await client.recv()
        watching = stack.enter_context(opened(gateway))
        assert counted(watching) == 0
        before = limit(gateway, more=ROOM)
        with ExitStack() as others:
            # The limit is looked at once a second; until then all descriptors may be taken.
            for _ in range(2 * ROOM):
                answer(others.enter_context(opened(gateway)))
                assert answer(watching) == 200  # one that is never idle for long
            assert answer_of_a_new_one(gateway) in {503, None}
            await until(lambda: counted(watching) >= 1 and LOGGED in gateway.output())
            # Whoever is connected notices nothing.
            await client.send(json.dumps({"op": "ping", "ref": 1}))
            assert json.loads(await client.recv()) == {"op": "pong", "ref": 1}
        # There is room again, as soon as the gateway has seen that they have gone.
        await until(lambda: answer_of_a_new_one(gateway) == 200)
        windows = 1 + (time.monotonic() - began) // WINDOW_SECONDS
        assert gateway.output().count(LOGGED) <= 4 * windows
        hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (before, hard))


async def test_a_process_that_can_open_nothing_says_so(gateway_process: StartGateway) -> None:
    """Where descriptors end for another reason, connections are reset below the gateway."""
    gateway = gateway_process()
    with opened(gateway) as watching:
        assert answer(watching) == 200
        before = limit(gateway, more=0)
        await until(lambda: counted(watching) >= 1 and LOGGED in gateway.output())
        assert answer_of_a_new_one(gateway) is None
    hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (before, hard))
    await until(lambda: answer_of_a_new_one(gateway) == 200)
