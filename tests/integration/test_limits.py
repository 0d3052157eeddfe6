"""Limits of a real gateway: the refusal is cheap and exact, counted, and the neighbours notice nothing.

Spec: docs/protocol.md, "Limits"; docs/security.md.
"""

from __future__ import annotations

import http.client
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from .raw_client import command, raw_client

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway
    from .raw_client import RawClient


def counted(gateway: RunningGateway, limit: str) -> int:
    """What the metric says of one limit."""
    return int(gateway.metric(f'gateway_refused_total{{limit="{limit}"}}'))


async def refusal(gateway: RunningGateway, **headers: str) -> tuple[int, str | None, str]:
    """Status, ``Retry-After`` and code of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(gateway.ws_url, additional_headers=headers):
            pass
    response = refused.value.response
    found = re.search(r'"code":"(\w+)"', (response.body or b"").decode())
    return response.status_code, response.headers.get("Retry-After"), found[1] if found else ""


@pytest.mark.parametrize("way", ["direct", "asgi"])
async def test_one_address_may_have_so_many_connections(gateway_process, way) -> None:
    settings = 'limits.connections_per_address = 3\nserver.trusted_proxies = ["127.0.0.1"]\n'
    gateway = gateway_process(settings, way=way)
    elsewhere = {"X-Forwarded-For": "192.0.2.7"}
    async with AsyncExitStack() as open_ones:
        for _ in range(3):
            await open_ones.enter_async_context(client(gateway, headers=elsewhere))
        for _ in range(5):
            assert await refusal(gateway, **elsewhere) == (429, "1", "too_many")
        # What a client writes before the proxy's own entry is nobody's word.
        forged = {"X-Forwarded-For": "198.51.100.1, 192.0.2.7"}
        assert (await refusal(gateway, **forged))[0] == 429
        async with client(gateway, headers={"X-Forwarded-For": "192.0.2.8"}) as neighbour:
            assert (await neighbour.say(op="ping"))["op"] == "pong"
        assert counted(gateway, "connections_per_address") == 6
    await gives_place_back(gateway, elsewhere)


async def gives_place_back(gateway: RunningGateway, headers: dict[str, str]) -> None:
    with anyio.fail_after(HANG_SECONDS):
        for _ in range(3):  # each takes and gives back
            while True:
                try:
                    async with client(gateway, headers=headers):
                        break
                except InvalidStatus:
                    await anyio.sleep(0.05)


async def test_without_trusted_proxies_a_header_changes_no_address(gateway_process) -> None:
    gateway = gateway_process("limits.connections_per_address = 1\n")
    async with client(gateway):
        assert (await refusal(gateway, **{"X-Forwarded-For": "192.0.2.9"}))[0] == 429


async def test_one_address_may_connect_so_often(gateway_process) -> None:
    gateway = gateway_process("limits.connects_per_second_per_address = 1\n")
    statuses: list[int] = []

    async def come() -> None:
        try:
            async with client(gateway):
                statuses.append(101)
        except InvalidStatus as refused:
            statuses.append(refused.response.status_code)

    # Together, as one more may come with each second.
    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(come)
    assert statuses.count(101) >= 5
    assert 429 in statuses
    assert counted(gateway, "connects_per_second_per_address") == statuses.count(429)


async def test_one_subject_may_have_so_many_connections(gateway_process) -> None:
    gateway = gateway_process(SETTINGS + "limits.connections_per_subject = 2\n", ENVIRONMENT)
    async with client(gateway, token("ann")) as first, client(gateway, token("ann")):
        assert await refusal(gateway, **bearer(token("ann"))) == (429, "1", "too_many")
        async with client(gateway) as third:
            assert (await third.say(op="auth", token=token("ann")))["code"] == "too_many"
            assert await third.closed() == 4413
        async with client(gateway, token("bob")) as neighbour:
            assert (await neighbour.say(op="ping"))["op"] == "pong"
        # To renew is no further connection.
        assert (await first.say(op="auth", token=token("ann")))["op"] == "authenticated"
    assert counted(gateway, "connections_per_subject") == 2
    async with client(gateway, token("ann")):
        pass


async def test_publishes_and_bytes_of_one_connection(gateway_process) -> None:
    gateway = gateway_process("limits.publishes_per_second = 2\nlimits.publish_bytes_per_second = 1000\n")

    async def codes(client: RawClient, *data: object) -> list[str | None]:
        """What publishes are answered that come at once, as a little more is allowed with time."""
        commands = (command(op="publish", topic="t", data=each, ref=1) for each in data)
        await client.send(b"".join(commands))
        return [(await client.event()).get("code") for _ in data]

    async with raw_client(gateway) as fast, raw_client(gateway) as neighbour:
        assert await codes(fast, *range(15)) == [None] * 10 + ["rate_limited"] * 5
        await fast.send(command(op="ping"))
        assert (await fast.event())["op"] == "pong"
        large = ["x" * 990] * 5
        assert await codes(neighbour, *large, "x" * 900) == [None] * 5 + ["rate_limited"]
    assert counted(gateway, "publishes_per_second") == 5
    assert counted(gateway, "publish_bytes_per_second") == 1


async def test_publishes_of_one_subject_over_all_doors(gateway_process) -> None:
    gateway = gateway_process(SETTINGS + "limits.publishes_per_second_per_subject = 2\n", ENVIRONMENT)
    url = f"{gateway.url}/v1/topics/a/b"
    async with client(gateway, token("ann")) as ann, httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        codes: list[str | None] = []
        # Each half a second allows one more, and a machine may stand still for so long. What is published
        # over HTTP is too little to be refused by itself.
        for _ in range(5):
            for number in range(12):
                await ann.send(op="publish", topic="a/b", data=1, ref=number)
            answer = await http.post(url, headers=bearer(token("ann")))
            codes += [(await ann.hear()).get("code") for _ in range(12)]
            if answer.status_code != 202:
                break
        assert codes[:10] == [None] * 10
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.headers["Retry-After"] == "1"
        assert (await http.post(url, headers=bearer(token("bob")))).status_code == 202
    assert counted(gateway, "publishes_per_second_per_subject") == codes.count("rate_limited") + 1


async def test_filters_that_make_matching_expensive_are_refused_and_the_others_taken(gateway_process) -> None:
    gateway = gateway_process("limits.filter_shapes = 100\nlimits.filter_shapes_per_connection = 20\n")
    async with client(gateway) as greedy, client(gateway) as neighbour:
        shapes = ["/".join("+" if number >> bit & 1 else "a" for bit in range(12)) for number in range(1, 40)]
        codes = [(await greedy.say(op="subscribe", filter=each)).get("code") for each in shapes]
        taken = codes.count(None)
        assert 8 <= taken < 20, "together they have more than 100 beginnings"
        assert set(codes[taken + 1 :]) <= {None, "too_many"}
        # Shapes that are there, and short ones, are taken from everybody.
        for each in (shapes[0].replace("a", "b"), "b/+", "+/b/#", "/".join("+" * 7)):
            assert (await neighbour.say(op="subscribe", filter=each))["op"] == "subscribed"
        short = ["/".join("+" if number >> bit & 1 else "c" for bit in range(6)) for number in range(1, 40)]
        codes = [(await neighbour.say(op="subscribe", filter=each)).get("code") for each in short]
        assert codes == [None] * 16 + ["too_many"] * 23, "twenty shapes of one connection"
        assert counted(gateway, "filter_shapes") >= 23
        assert gateway.metric("gateway_filter_shapes") <= 100
        for _ in range(2):
            await greedy.say(op="publish", topic="/".join("a" * 12), data=1, ref=1)
        assert (await neighbour.say(op="ping"))["op"] == "pong"
    async with client(gateway) as later:
        with anyio.fail_after(HANG_SECONDS):
            while True:  # until the others have gone
                if (await later.say(op="subscribe", filter=shapes[-1]))["op"] == "subscribed":
                    break
                await anyio.sleep(0.05)


async def test_who_has_many_idempotency_keys_is_refused_and_the_others_keep_theirs(gateway_process) -> None:
    gateway = gateway_process(SETTINGS + "limits.idempotency_entries = 100\n", ENVIRONMENT)
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=HANG_SECONDS) as http:

        async def publish(subject: str, key: str) -> httpx2.Response:
            headers = {**bearer(token(subject)), "Idempotency-Key": key}
            return await http.post("/v1/topics/a/b", headers=headers)

        first = (await publish("bob", "mine")).json()
        statuses = [(await publish("ann", str(number))).status_code for number in range(60)]
        assert statuses == [202] * 50 + [429] * 10
        assert (await publish("bob", "mine")).json() == first
        assert (await publish("ann", "0")).status_code == 202, "a repeat is answered as before"
        assert (await publish("bob", "another")).status_code == 202
    assert counted(gateway, "idempotency_entries") == 10


async def test_a_storm_of_subscribing_ends_with_4429_and_spares_the_neighbours(gateway_process) -> None:
    gateway = gateway_process("limits.commands_per_second = 10\n")
    storm = b"".join(
        command(op="subscribe", filter="s/+/#") + command(op="unsubscribe", filter="s/+/#")
        for _ in range(4000)
    )
    async with client(gateway) as neighbour, raw_client(gateway) as stormy:
        assert (await neighbour.say(op="subscribe", filter="n"))["op"] == "subscribed"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stormy.send_what_is_taken, storm, HANG_SECONDS)
            code = await stormy.close_code()
            tasks.cancel_scope.cancel()
        assert code == 4429
        await neighbour.send(op="publish", topic="n", data=1)
        assert (await neighbour.hear())["op"] == "message"
    assert counted(gateway, "commands_per_second") > 5000


async def test_idle_unauthenticated_connections_end_by_themselves(gateway_process) -> None:
    gateway = gateway_process(SETTINGS + 'limits.auth_timeout = "3s"\n', ENVIRONMENT)
    async with client(gateway, token()) as neighbour, AsyncExitStack() as idle:
        nobodies = []
        for _ in range(100):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(_open, gateway, idle, nobodies)
        codes = [await nobody.close_code() for nobody in nobodies]
        assert codes == [4409] * 5000
        assert (await neighbour.say(op="ping"))["op"] == "pong"
    assert counted(gateway, "auth_timeout") == 5000


async def _open(gateway: RunningGateway, idle: AsyncExitStack, nobodies: list) -> None:
    nobodies.append(await idle.enter_async_context(raw_client(gateway)))


def test_a_full_node_refuses_with_503(gateway_process: StartGateway) -> None:
    gateway = gateway_process("limits.connections = 1\n")

    async def fill() -> None:
        async with client(gateway):
            assert await refusal(gateway) == (503, "1", "unavailable")

    anyio.run(fill)
    assert counted(gateway, "connections") == 1


def test_the_size_of_requests_is_bounded(gateway_process: StartGateway) -> None:
    gateway = gateway_process("")
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    connection.request("GET", "/livez", headers={"X-Long": "x" * 40_000})
    assert connection.getresponse().status == 431
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    connection.request("GET", "/livez", headers={f"X-{number}": "x" for number in range(150)})
    assert connection.getresponse().status == 431
