"""Streams that two nodes keep in one Redis: numbered together, readable everywhere, honest without it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import HANG_SECONDS

from .outage import PATIENT_REDIS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

STREAM = '[[streams]]\nname = "orders"\nfilter = "orders/#"\n'


@pytest.fixture(scope="module")
def nodes(module_gateway_process: StartGateway, module_redis_server: RunningRedis) -> list[RunningGateway]:
    settings = f'[redis]\nurl = "{module_redis_server.url}"\n{PATIENT_REDIS}{STREAM}'
    return [module_gateway_process(settings) for _ in range(2)]


def ask(node: RunningGateway, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(node.url + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def until(condition: Callable[[], bool], seconds: float = HANG_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_nodes_number_one_stream(nodes: list[RunningGateway]) -> None:
    one, other = nodes
    answers = [ask(node, "/v1/topics/orders/a", b"1") for node in (one, other, one)]
    assert [status for status, _ in answers] == [201, 201, 201]
    offsets = [answer["offset"] for _, answer in answers]
    assert offsets == list(range(offsets[0], offsets[0] + 3))
    pages = [ask(node, f"/v1/streams/orders/messages?from={offsets[0]}")[1] for node in nodes]
    assert pages[0] == pages[1]
    assert [message["id"] for message in pages[0]["messages"]] == [answer["id"] for _, answer in answers]
    assert ask(one, "/v1/streams/orders")[1]["epoch"] == pages[0]["epoch"]


def test_an_idempotency_key_holds_on_every_node(nodes: list[RunningGateway]) -> None:
    one, other = nodes
    key = {"Idempotency-Key": "k"}
    first = ask(one, "/v1/topics/orders/a", b"1", **key)
    assert ask(other, "/v1/topics/orders/a", b"1", **key) == first
    assert ask(other, "/v1/topics/orders/a", b"2", **key)[0] == 409


def test_who_waits_on_one_node_hears_of_what_another_stores(nodes: list[RunningGateway]) -> None:
    one, other = nodes
    pages: list[Any] = []
    path = "/v1/streams/orders/messages?from=new&wait=30"
    reader = threading.Thread(target=lambda: pages.append(ask(other, path)[1]))
    reader.start()
    until(lambda: other.metric("gateway_store_readers_waiting") == 1)
    stored = ask(one, "/v1/topics/orders/a", b"1")[1]
    reader.join()
    assert [message["id"] for message in pages[0]["messages"]] == [stored["id"]]


def test_while_redis_is_away_nodes_say_so_in_time_and_recover(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node = gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAM}')
    until(lambda: ask(node, "/readyz")[1] == {"status": "ready"})
    assert ask(node, "/v1/topics/orders/a", b"1")[0] == 201
    epoch = ask(node, "/v1/streams/orders")[1]["epoch"]
    redis_server.kill()
    status, answer = ask(node, "/v1/topics/orders/a", b"2")
    assert (status, answer["code"]) == (503, "unavailable")
    assert ask(node, "/v1/streams/orders/messages")[0] == 503
    assert ask(node, "/v1/streams")[0] == 503
    until(lambda: ask(node, "/readyz")[1] == {"status": "degraded", "away": ["redis", "store"]})
    assert node.metric("gateway_store_connected") == 0
    assert node.metric('gateway_stream_last_offset{stream="orders"}') == 1
    assert node.metric('gateway_stream_failed_total{stream="orders"}') == 1
    redis_server.start()
    until(lambda: ask(node, "/readyz")[1] == {"status": "ready"})
    # It came back empty: what had been stored is lost, and nobody may take the new messages for the old ones.
    status, answer = ask(node, "/v1/topics/orders/a", b"3")
    assert (status, answer["offset"] > 0) == (201, True)
    page = ask(node, f"/v1/streams/orders/messages?from=2&epoch={epoch}")[1]
    assert (page["gap"], page["epoch"] != epoch) == ({"reason": "epoch"}, True)
    assert [message["id"] for message in page["messages"]] == [answer["id"]]
