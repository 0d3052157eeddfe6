"""What a node needs in Redis is what the docs list, and what Redis refuses is told.

Spec: docs/operations.md, "Many nodes: Redis".
"""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import HANG_SECONDS
from tests.redis_process import RunningRedis, redis_cluster, redis_servers

from .credentials import ENVIRONMENT, SETTINGS, bearer, token
from .test_streams_nodes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import RunningGateway, StartGateway

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
STREAM = '[[streams]]\nname = "orders"\nfilter = "orders/#"\nmax_messages = 1\n'
HOOK = '[[hooks]]\nname = "open"\nscheme = "none"\ndelivery_id = "X-Id"\ntopic = "hooks/a"\n'
ROOT = token("root", admin=True, publish=["#"], subscribe=["#"])


def documented() -> list[str]:
    """The rules that the docs give for one server, without the user's name."""
    blocks = re.findall(r"```text\nACL SETUSER gateway(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3, "one for the bus, one for streams, one for webhooks"
    return " ".join(blocks).split()


def documented_besides(case: str) -> list[str]:
    """The rules that the docs give besides; nothing for no case."""
    if not case:
        return []
    found = re.search(re.escape(case) + r" `([^`]*)`", DOCS.read_text("utf-8"))
    assert found is not None, case
    return found[1].split()


def allow(server: RunningRedis, *more: str) -> None:
    server.call("ACL", "SETUSER", "gateway", "reset", *documented(), *more)


def settings_for(server: RunningRedis, database: int = 0) -> str:
    return (
        f'{SETTINGS}\n[redis]\nurl = "redis://gateway:PASSWORD@{server.address}/{database}"\n{STREAM}{HOOK}'
    )


def ask(node: RunningGateway, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    headers = {"content-type": "application/json"} | bearer(ROOT) | headers
    request = urllib.request.Request(node.url + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def knows(node: RunningGateway, nodes: int) -> bool:
    told = ask(node, "/v1/nodes")[1]
    return bool(told["complete"]) and len(told["nodes"]) == nodes


def ready(node: RunningGateway) -> bool:
    return ask(node, "/readyz")[1] == {"status": "ready"}


@pytest.mark.parametrize(
    ("make", "database", "more"),
    [
        pytest.param("redis", 0, "", id="redis"),
        pytest.param("valkey", 3, "with another database than 0\nalso", id="valkey, another database"),
    ],
)
def test_the_documented_rights_are_enough_for_all_that_nodes_do(
    gateway_process: StartGateway, tmp_path: Path, make: str, database: int, more: str
) -> None:
    with redis_servers(tmp_path, (), make=make) as (server,):
        allow(server, *documented_besides(more))
        settings = settings_for(server, database)
        one, two = (gateway_process(settings, ENVIRONMENT) for _ in range(2))
        do_all_that_nodes_do(one, two)
        assert server.call("ACL", "LOG") == []
        assert "efuse" not in one.stderr_text() + two.stderr_text()


def test_the_documented_rights_are_enough_on_a_cluster(gateway_process: StartGateway, tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as servers:
        for server in servers:
            allow(server, *documented_besides("with a cluster also"))
        url = f"redis+cluster://gateway:PASSWORD@{servers[0].address}"
        settings = f'{SETTINGS}\n[redis]\nurl = "{url}"\n{STREAM}{HOOK}'
        one, two = (gateway_process(settings, ENVIRONMENT) for _ in range(2))
        do_all_that_nodes_do(one, two)
        assert [server.call("ACL", "LOG") for server in servers] == [[], [], []]
        assert "efuse" not in one.stderr_text() + two.stderr_text()


def do_all_that_nodes_do(one: RunningGateway, two: RunningGateway) -> None:
    until(lambda: ready(one) and ready(two))
    until(lambda: all(knows(node, 2) for node in (one, two)))

    # Streams: kept, once per key, read, waited for.
    first = ask(one, "/v1/topics/orders/a", b"1", **{"Idempotency-Key": "k"})
    assert first[0] == 201
    assert ask(two, "/v1/topics/orders/a", b"1", **{"Idempotency-Key": "k"}) == first
    pages: list[Any] = []
    path = "/v1/streams/orders/messages?from=new&wait=9"
    reader = threading.Thread(target=lambda: pages.append(ask(two, path)[1]))
    reader.start()
    until(lambda: ask(two, "/v1/streams")[0] == 200 and two.metric("gateway_store_readers_waiting") == 1)
    stored = ask(one, "/v1/topics/orders/a", b"2")[1]
    reader.join()
    assert [message["id"] for message in pages[0]["messages"]] == [stored["id"]]

    # Webhooks: a repeat is known on the other node.
    delivered = ask(one, "/v1/hooks/open", b"1", **{"X-Id": "1"})
    assert delivered[0] == 202
    assert ask(two, "/v1/hooks/open", b"1", **{"X-Id": "1"}) == delivered

    # The bus: live messages, and administration.
    lines: list[bytes] = []
    request = urllib.request.Request(f"{two.url}/v1/events?filter=live/%23", headers=bearer(ROOT))
    with urllib.request.urlopen(request, timeout=HANG_SECONDS) as events:
        while not lines or b"subscribed" not in lines[-1]:
            lines.append(events.readline())
        assert ask(one, "/v1/topics/live/a", b'"hello"')[0] == 202
        while b"hello" not in lines[-1]:
            lines.append(events.readline())
    body = json.dumps({"subject": "eve", "block_seconds": 60}).encode()
    status, done = ask(one, "/v1/disconnect", body)
    assert (status, done["complete"], len(done["nodes"])) == (200, True, 2)
    eve = urllib.request.Request(f"{two.url}/v1/streams", headers=bearer(token("eve", admin=True)))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(eve, timeout=HANG_SECONDS)


def spoil_log(server: RunningRedis) -> Callable[[], None]:
    server.call("SET", "{gateway:stream:orders}:log", "x")
    return lambda: server.call("DEL", "{gateway:stream:orders}:log")  # type: ignore[return-value]


def forbid(*rules: str) -> Callable[[RunningRedis], Callable[[], None]]:
    def spoil(server: RunningRedis) -> Callable[[], None]:
        allow(server, *rules)
        return lambda: allow(server)

    return spoil


SPOILED = {
    "no scripts": forbid("-evalsha", "-eval"),
    "no appends": forbid("-xadd"),
    "no trimming": forbid("-xtrim"),
    "no index": forbid("-zadd"),
    "no reading of keys": forbid("-get"),
    "no writing of keys": forbid("-set"),
    "no announcements": forbid("resetchannels", "&gateway:*"),
    "a key of another type": spoil_log,
}


@pytest.mark.parametrize("spoil", [pytest.param(spoil, id=name) for name, spoil in SPOILED.items()])
def test_a_redis_that_refuses_streams_is_told_and_found_to_allow_them_again(
    gateway_process: StartGateway,
    redis_server: RunningRedis,
    spoil: Callable[[RunningRedis], Callable[[], None]],
) -> None:
    allow(redis_server)
    undo = spoil(redis_server)
    node = gateway_process(settings_for(redis_server), ENVIRONMENT)
    # Nobody has published or read anything.
    until(lambda: ask(node, "/readyz")[1] == {"status": "degraded", "away": ["store"]})
    assert node.metric("gateway_store_connected") == 0
    assert node.metric("gateway_store_refused_total") > 0
    assert ask(node, "/v1/topics/live/a", b"1")[0] == 202
    undo()
    until(lambda: ready(node))
    assert node.metric("gateway_store_connected") == 1
    assert ask(node, "/v1/topics/orders/a", b"1")[0] == 201
    told = [line for line in node.stderr_text().splitlines() if "Redis refuses" in line]
    subjects = [json.loads(line)["event"].split(":")[0].split(" 'orders'")[0] for line in told]
    assert 1 <= len(subjects) == len(set(subjects)) <= 4, "appends, reads, the index, groups: once each"


def test_a_right_that_is_taken_while_it_runs_is_noticed(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    allow(redis_server)
    node = gateway_process(settings_for(redis_server), ENVIRONMENT)
    until(lambda: ready(node))
    assert ask(node, "/v1/topics/orders/a", b"1")[0] == 201
    allow(redis_server, "-xinfo")
    until(lambda: not ready(node))
    assert node.metric("gateway_store_connected") == 0
    allow(redis_server)
    until(lambda: ready(node))


def test_a_redis_that_refuses_live_messages_is_told(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    """Where heartbeats may pass, and the channels of clients' messages may not."""
    allow(redis_server, "resetchannels", "&gateway:beat:*", "&gateway:control:*", "&{gateway:stream:*")
    node = gateway_process(settings_for(redis_server), ENVIRONMENT)
    assert ask(node, "/v1/topics/live/a", b"1")[0] == 503
    assert ask(node, "/readyz")[1] == {"status": "degraded", "away": ["redis"]}
    allow(redis_server)
    assert ask(node, "/v1/topics/live/a", b"1")[0] == 202
    until(lambda: ready(node))
