"""Statistics of real gateways: of one alone, and of two that share a Redis.

Spec: docs/http.md, "Statistics".
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from gateway.core.statistics.series import NAMES
from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from .raw_client import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

STREAMS = """
[[streams]]
name = "kept"
filter = "kept/#"

[[streams.groups]]
name = "jobs"
start = "earliest"
"""
ROOT = {"publish": ["#"], "subscribe": ["#"]}


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(f'{SETTINGS}\nstore.url = "memory:"\n{STREAMS}', ENVIRONMENT)


@pytest.fixture(scope="module")
def nodes(module_gateway_process: StartGateway, module_redis_server: RunningRedis) -> list[RunningGateway]:
    settings = f'{SETTINGS}\n[redis]\nurl = "{module_redis_server.url}"\n{STREAMS}'
    return [module_gateway_process(settings, ENVIRONMENT) for _ in range(2)]


def root() -> dict[str, str]:
    return bearer(token("root", admin=True, **ROOT))


def read(gateway: RunningGateway, **parameters: Any) -> dict[str, Any]:
    answer = httpx2.get(
        f"{gateway.url}/v1/statistics", params=parameters, headers=root(), timeout=HANG_SECONDS
    )
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def publish(gateway: RunningGateway, topic: str) -> None:
    url = f"{gateway.url}/v1/topics/{topic}"
    answer = httpx2.post(url, content=b"1", headers=root(), timeout=HANG_SECONDS)
    assert answer.status_code in {201, 202}, answer.text


def in_all(told: dict[str, Any], name: str) -> float:
    """What was counted in all seconds together."""
    return sum(value or 0 for value in told["series"][name])


@contextmanager
def events(gateway: RunningGateway, **parameters: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Data of the events, one at a time, each with its ``id`` and ``event``."""
    url = f"{gateway.url}/v1/statistics/events"
    with httpx2.stream("GET", url, params=parameters, headers=root(), timeout=HANG_SECONDS) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")

        def each() -> Iterator[dict[str, Any]]:
            event: dict[str, Any] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "data":
                    event |= json.loads(value)
                elif name in {"id", "event"}:
                    event[name] = value
                elif not line and event:
                    yield event
                    event = {}

        yield each()


async def test_what_was_done_is_in_the_last_seconds(gateway) -> None:
    before = read(gateway)
    async with client(gateway, token("ann", subscribe=["#"])) as ann:
        assert (await ann.say(op="subscribe", filter="live/#"))["op"] == "subscribed"
        for topic in ("live/a", "live/b", "kept/a"):
            publish(gateway, topic)
        await until(lambda: in_all(read(gateway), "publications") >= in_all(before, "publications") + 3)
        told = read(gateway)
    assert (told["scope"], told["missing"], told["complete"]) == ("node", [], True)
    assert set(told["series"]) == set(NAMES)
    assert {len(values) for values in told["series"].values()} == {len(told["series"]["cpu"])}
    assert abs(told["end"] - time.time() * 1000) < 1000 * HANG_SECONDS
    assert in_all(told, "deliveries") >= in_all(before, "deliveries") + 2
    assert in_all(told, "delivery_bytes") > in_all(before, "delivery_bytes")
    assert in_all(told, "stored") >= 1
    assert max(value or 0 for value in told["series"]["fanout_max_ms"]) > 0
    assert max(value or 0 for value in told["series"]["memory_bytes"]) > 1_000_000
    assert told["totals"]["publications"] >= 3
    assert told["by_node"][told["nodes"][0]].keys() == told["series"].keys()


async def test_what_streams_and_groups_hold_is_there_as_well(gateway) -> None:
    publish(gateway, "kept/b")

    def told() -> bool:
        held = read(gateway)["held"]
        messages = held["streams"].get("kept", {}).get("messages", [0])
        depth = held["groups"].get("kept/jobs", {}).get("depth", [0])
        return messages[-1] == depth[-1] > 0

    await until(told)
    held = read(gateway)["held"]
    assert held["end"] % held["step_ms"] == 0


async def test_events_go_on_from_where_the_past_ended(gateway) -> None:
    await until(lambda: len(read(gateway, seconds=3)["series"]["cpu"]) == 3)
    past = read(gateway, seconds=3)
    assert len(past["series"]["cpu"]) == 3
    with events(gateway, since=past["end"] - 2000) as told:
        found = [next(told) for _ in range(4)]
    assert [each["event"] for each in found] == ["statistics"] * 4
    assert [int(each["id"]) for each in found] == [each["time"] for each in found]
    assert found[0]["time"] == past["end"] - 1000
    assert found[1]["series"]["cpu"] == past["series"]["cpu"][-1]
    times = [each["time"] for each in found]
    assert times == sorted(set(times))
    assert found[0]["held"]["streams"].keys() == {"kept"}
    assert found[1]["held"] is None


async def test_events_end_with_the_one_who_reads_them(gateway) -> None:
    with events(gateway) as told:
        next(told)
        url = f"{gateway.url}/v1/disconnect"
        httpx2.post(url, json={"subject": "root"}, headers=root()).raise_for_status()
        last = [each for each in told if each["event"] == "error"]
    assert [each["code"] for each in last] == ["forbidden"]


@pytest.mark.parametrize("path", ["/v1/statistics", "/v1/statistics/events"])
def test_only_administrators_read_them(gateway, path) -> None:
    assert httpx2.get(gateway.url + path).status_code == 401
    assert httpx2.get(gateway.url + path, headers=bearer(token("ann"))).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "?scope=world",
        "?seconds=0",
        "?seconds=901",
        "?seconds=x",
        "?span=1",
        "/events?since=-1",
        "/events?since=x",
    ],
)
def test_what_makes_no_sense_is_refused(gateway, query) -> None:
    answer = httpx2.get(f"{gateway.url}/v1/statistics{query}", headers=root())
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_command")


async def test_nodes_are_added_up(nodes) -> None:
    one, other = nodes
    async with client(one, token("ann")) as ann, client(other, token("bob")) as bob:
        for each in (ann, bob):
            assert (await each.say(op="subscribe", filter="a/x"))["op"] == "subscribed"
        publish(one, "a/x")
        names = {ann.welcome["node"], bob.welcome["node"]}

        def added() -> bool:
            told = read(one, scope="cluster", seconds=60)
            return (
                set(told["nodes"]) == names
                and told["complete"]
                and told["series"]["connections"][-2] == 2
                and in_all(told, "deliveries") == 2
            )

        await until(added)
        told = read(other, scope="cluster", seconds=60)
        assert set(told["by_node"]) == names
        assert in_all(told, "publications") == 1
        assert told["series"]["bus_connected"][-2] == 1
        assert in_all(read(other), "publications") == 0
        assert max(value or 0 for value in told["series"]["bus_max_ms"]) > 0


async def test_events_of_the_cluster_follow_each_other(nodes) -> None:
    one, _ = nodes
    await until(lambda: len(read(one, scope="cluster")["nodes"]) == 2 and len(read(one)["series"]["cpu"]) > 3)
    with events(one, scope="cluster", since=read(one)["end"] - 3000) as told:
        found = [next(told) for _ in range(5)]
    times = [each["time"] for each in found]
    assert times == sorted(set(times))
    assert {each["scope"] for each in found} == {"cluster"}
    assert len(found[-1]["by_node"]) == 2
