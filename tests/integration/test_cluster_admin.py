"""Administration asked of one node reaches every node: real processes that share a Redis.

Spec: docs/http.md, "Administration".
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from anyio import to_thread

from gateway.core.cluster.membership import Rhythm
from gateway.engine.cluster.node import ANSWER_SECONDS
from tests.patience import HANG_SECONDS, PATIENCE

from .credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from .outage import PATIENT_REDIS
from .raw_client import until

if TYPE_CHECKING:
    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway


@pytest.fixture(scope="module")
def start_node(module_gateway_process: StartGateway, module_redis_server: RunningRedis):
    def start() -> RunningGateway:
        settings = f'{SETTINGS}\n[redis]\nurl = "{module_redis_server.url}"\n{PATIENT_REDIS}'
        return module_gateway_process(settings, ENVIRONMENT)

    return start


@pytest.fixture(scope="module")
def nodes(start_node) -> list[RunningGateway]:
    return [start_node() for _ in range(3)]


@pytest.fixture
async def settled(nodes) -> list[RunningGateway]:
    """The three nodes, once each knows exactly the others."""
    await until(lambda: all(knows(node, 3) for node in nodes))
    return nodes


def ask(node: RunningGateway, method: str, path: str, **how: Any) -> httpx2.Response:
    how = {"headers": bearer(token("root", admin=True)), "timeout": HANG_SECONDS, **how}
    return httpx2.request(method, node.url + path, verify=False, **how)  # making a TLS context takes longer


def ask_all(node: RunningGateway, method: str, path: str, **how: Any) -> list[httpx2.Response]:
    """The answers until one that no node is missing to: one that stands still has two seconds as well."""
    answers: list[httpx2.Response] = []
    deadline = time.monotonic() + HANG_SECONDS
    while not answers or answers[-1].status_code == 503 or not complete(answers[-1]):
        assert time.monotonic() < deadline, answers[-1].text
        answers.append(ask(node, method, path, **how))
    return answers


def complete(answer: httpx2.Response) -> bool:
    return not answer.content or bool(answer.json().get("complete", True))


def list_nodes(node: RunningGateway) -> dict[str, Any]:
    return ask(node, "GET", "/v1/nodes").json()


def knows(node: RunningGateway, count: int) -> bool:
    answer = list_nodes(node)
    return answer["complete"] and len(answer["nodes"]) == count


def name_of(node: RunningGateway) -> str:
    """What the node that answers is called; others of its list may be just as new."""
    name: str = ask(node, "GET", "/v1/settings").json()["node"]
    return name


def disconnect(node: RunningGateway, subject: str, seconds: float = 0) -> dict[str, Any]:
    answer = ask(node, "POST", "/v1/disconnect", json={"subject": subject, "block_seconds": seconds})
    assert answer.status_code == 200
    return answer.json()


def disconnect_everywhere(node: RunningGateway, subject: str, seconds: float = 0) -> list[dict[str, Any]]:
    """What was answered until every node had done it; mostly one answer."""
    how = {"subject": subject, "block_seconds": seconds}
    answers = ask_all(node, "POST", "/v1/disconnect", json=how)
    assert {each.status_code for each in answers} == {200}
    return [each.json() for each in answers]


def publish(node: RunningGateway, subject: str) -> int:
    return ask(node, "POST", "/v1/topics/a/b", headers=bearer(token(subject))).status_code


async def test_every_node_lists_every_node(settled) -> None:
    async with client(settled[1], token("ann")) as ann:
        await ann.say(op="subscribe", filter="a/x")
        names = {name_of(node) for node in settled}
        assert len(names) == 3

        def seen_from_everywhere() -> bool:
            found = [{each["node"]: each for each in list_nodes(node)["nodes"]} for node in settled]
            return all(
                each.keys() == names and each[ann.welcome["node"]]["subscriptions"] == 1 for each in found
            )

        # The figures of others are those of their last heartbeat.
        await until(seen_from_everywhere, PATIENCE * Rhythm().beat)
    assert settled[0].metric("gateway_nodes") == 3


async def test_connections_of_all_nodes_are_listed_in_pages(settled) -> None:
    async with AsyncExitStack() as stack:
        opened = {}
        for node in settled * 3:
            welcome = (await stack.enter_async_context(client(node, token("p")))).welcome
            opened[welcome["session"]] = welcome["node"]
        seen: list[tuple[str, str]] = []
        after = ""
        while after is not None:
            params = {"limit": 2, "after": after}
            answer = ask_all(settled[0], "GET", "/v1/connections", params=params)[-1].json()
            assert len(answer["nodes"]) == 3
            assert (answer["missing"], answer["complete"]) == ([], True)
            seen += [(each["session"], each["node"]) for each in answer["connections"]]
            after = answer["next"]
        assert seen == sorted(set(seen))
        assert opened.items() <= dict(seen).items()


async def test_a_connection_is_described_on_whichever_node_it_is(settled) -> None:
    rights = {"subscribe": ["a/#"], "publish": ["a/b"], "consume": ["s/g"]}
    async with client(settled[2], token("ann", **rights)) as ann:
        await ann.say(op="subscribe", filter="a/x", overflow="latest")
        await ann.say(op="subscribe", filter="a/+")
        path = f"/v1/connections/{ann.welcome['session']}"
        told = ask_all(settled[0], "GET", path)[-1].json()
        assert (told["subject"], told["node"]) == ("ann", ann.welcome["node"])
        assert (told["fill"], told["blocked_ms"], told["positions"]) == (0, None, {})
        live = {"streams": [], "state": "live", "dropped": 0, "positions": {}}
        assert told["filters"] == [
            {"filter": "a/+", "overflow": "spill", **live},
            {"filter": "a/x", "overflow": "latest", **live},
        ]
        assert told["grants"] == {**rights, "admin": False}
        assert told["expires"] > time.time() * 1000
        assert told["complete"] is True
    await until(lambda: ask(settled[0], "GET", path).status_code == 404)


async def test_connections_are_found_by_subject_address_and_node(settled) -> None:
    async with AsyncExitStack() as stack:
        names = ["nora", "nora", "olga"]
        for node, name in zip(settled, names, strict=True):
            await stack.enter_async_context(client(node, token(name)))

        def found(**wanted: str) -> list[tuple[str, str]]:
            answer = ask_all(settled[0], "GET", "/v1/connections", params=wanted)[-1].json()
            return sorted((each["subject"] or "", each["node"]) for each in answer["connections"])

        nodes = [name_of(node) for node in settled]
        assert found(subject="nora") == sorted([("nora", nodes[0]), ("nora", nodes[1])])
        assert found(subject="nora", node=nodes[1]) == [("nora", nodes[1])]
        assert len(found(subject="nora", order="slow", limit="1")) == 1
        assert found(subject="olga", address="127.0.0.1:") == [("olga", nodes[2])]
        assert found(subject="olga", address="10.") == []
        refused = ask(settled[0], "GET", "/v1/connections", params={"order": "quick"})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_command")


async def test_nodes_tell_how_they_are(settled) -> None:
    for node in list_nodes(settled[0])["nodes"]:
        assert (node["status"], node["reasons"], node["away"]) == ("ready", [], [])
        assert node["memory_bytes"] > 1_000_000
        assert node["lag_ms"] >= 0


async def test_a_node_is_drained_from_another_one(settled, start_node) -> None:
    leaving = start_node()
    await until(lambda: all(knows(node, 4) for node in settled))
    name = name_of(leaving)
    async with client(leaving, token("ann")) as ann:
        *late, answer = ask_all(settled[0], "POST", f"/v1/nodes/{name}/drain")
        if late:  # it did so, and could say so too late only
            assert answer.status_code in {202, 404}
        else:
            assert (answer.status_code, answer.json()) == (202, {"node": name, "draining": True})
        assert (await ann.hear())["op"] == "goaway"
    assert await to_thread.run_sync(leaving.wait) == 0
    await until(lambda: all(knows(node, 3) for node in settled))
    assert ask(settled[0], "POST", f"/v1/nodes/{name}/drain").status_code == 404


async def test_a_connection_is_ended_on_whichever_node_it_is(settled) -> None:
    async with client(settled[2], token("ann")) as ann, client(settled[2], token("ann")) as other:
        path = f"/v1/connections/{ann.welcome['session']}"
        *late, answer = ask_all(settled[0], "DELETE", path)
        assert answer.status_code in ({204, 404} if late else {204})
        assert (await ann.hear())["code"] == "forbidden"
        assert await ann.closed() == 4403
        assert (await other.say(op="ping"))["op"] == "pong"
        await until(lambda: ask(settled[0], "DELETE", path).status_code == 404)


async def test_a_subject_is_disconnected_on_every_node_and_blocked_there(settled) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(node, token("eve"))) for node in settled]
        neighbour = await stack.enter_async_context(client(settled[1], token("ann")))
        *late, answer = disconnect_everywhere(settled[0], "eve", 600)
        assert late or answer["disconnected"] == 3
        assert len(answer["nodes"]) == 3
        assert (answer["missing"], answer["complete"]) == ([], True)
        assert [await each.closed() for each in clients] == [4403] * 3
        assert (await neighbour.say(op="ping"))["op"] == "pong"
    assert [publish(node, "eve") for node in settled] == [403] * 3
    # The last word counts, on whichever node it is said.
    disconnect_everywhere(settled[2], "eve", 0.1)
    for node in settled:
        await until(lambda n=node: publish(n, "eve") != 403)


async def test_a_node_that_starts_later_learns_the_blocks_and_one_that_is_killed_goes(
    settled, start_node
) -> None:
    disconnect_everywhere(settled[0], "mallory", 600)
    late = start_node()
    await until(lambda: publish(late, "mallory") == 403)
    await until(lambda: all(knows(node, 4) for node in settled))
    name = name_of(late)

    killed = time.monotonic()
    late.kill()
    # For a moment nobody can know: what is asked is answered in time, and says who has not answered.
    listed, unknown = await asyncio.gather(
        to_thread.run_sync(ask, settled[0], "GET", "/v1/connections"),
        to_thread.run_sync(ask, settled[0], "DELETE", "/v1/connections/0123456789abcdef"),
    )
    took = time.monotonic() - killed
    assert took < PATIENCE * ANSWER_SECONDS
    if took < Rhythm().silence - Rhythm().beat:  # else it may have been taken for gone before it was asked
        answer = listed.json()
        assert (name in answer["missing"], answer["complete"]) == (True, False)
        assert settled[0].metric("gateway_questions_unanswered_total") >= 1
        assert (unknown.status_code, unknown.json()["code"]) == (503, "unavailable")
        assert name in unknown.json()["detail"]

    await until(lambda: all(knows(node, 3) for node in settled), PATIENCE * Rhythm().silence)
    assert disconnect_everywhere(settled[0], "nobody")[-1] == {
        "disconnected": 0,
        "blocked_until": None,
        "nodes": sorted(name_of(node) for node in settled),
        "missing": [],
        "complete": True,
    }


async def test_a_block_is_lifted_on_every_node(settled, start_node) -> None:
    disconnect_everywhere(settled[0], "oscar", 600)
    assert [publish(node, "oscar") for node in settled] == [403, 403, 403]
    assert disconnect_everywhere(settled[1], "oscar", 0)[-1]["blocked_until"] is None
    assert [publish(node, "oscar") for node in settled] == [202, 202, 202]
    late = start_node()
    assert publish(late, "oscar") == 202
    late.stop()


async def test_a_node_that_begins_serves_nobody_who_is_blocked(settled, start_node) -> None:
    """Asked from the first moment on: whoever is answered at all is refused."""
    restarted = start_node()
    restarted.stop()
    disconnect_everywhere(settled[0], "trudy", 600)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, restarted.start)
        status = 0
        with anyio.fail_after(3 * HANG_SECONDS):
            while not status:
                try:
                    status = await to_thread.run_sync(publish, restarted, "trudy")
                except httpx2.ConnectError:
                    await anyio.sleep(0.002)  # nobody listens yet
        assert status == 403
    restarted.stop()


async def test_a_node_that_is_stopped_takes_its_leave(settled, start_node) -> None:
    leaving = start_node()
    await until(lambda: all(knows(node, 4) for node in settled))
    leaving.stop()
    # Long before it would be missed.
    await until(lambda: all(knows(node, 3) for node in settled), Rhythm().silence / 2)


async def test_nodes_do_not_tell_clients_what_they_tell_each_other(settled) -> None:
    async with client(settled[0], token("root", admin=True, subscribe=["$gateway/#", "#"])) as curious:
        for topic_filter in ("$gateway/nodes", "$gateway/#", f"$gateway-{curious.welcome['node']}/#"):
            assert (await curious.say(op="subscribe", filter=topic_filter))["code"] == "forbidden"
        assert (await curious.say(op="publish", topic="$gateway/nodes", data=1))["code"] == "bad_topic"
        assert (await curious.say(op="subscribe", filter="#"))["op"] == "subscribed"
        # Several heartbeats and an answered question later it has heard of nothing.
        assert disconnect_everywhere(settled[1], "nobody")[-1]["complete"] is True
        assert (await curious.say(op="ping"))["op"] == "pong"


async def test_while_redis_is_away_a_node_acts_by_itself_and_says_so(
    settled, module_redis_server: RunningRedis
) -> None:
    others = sorted(name_of(node) for node in settled[1:])
    async with client(settled[0], token("trent")) as here, client(settled[1], token("trent")) as there:
        module_redis_server.kill()
        await until(lambda: settled[0].metric("gateway_bus_connected") == 0)
        answer = disconnect(settled[0], "trent", 600)
        assert (answer["disconnected"], answer["complete"]) == (1, False)
        assert (answer["nodes"], answer["missing"]) == ([name_of(settled[0])], others)
        assert await here.closed() == 4403
        assert (await there.say(op="ping"))["op"] == "pong"
        assert [publish(node, "trent") == 403 for node in settled[:2]] == [True, False]
        module_redis_server.start()
        # The others learn the block once they can, and end whom it concerns.
        assert await there.closed() == 4403
    for node in settled:
        await until(lambda n=node: publish(n, "trent") == 403)
