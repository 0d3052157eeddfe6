"""Purging: what was removed on purpose comes from nowhere any more, and every way of reading passes it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from typer.testing import CliRunner
from websockets.asyncio.client import ClientConnection, connect

from gateway.cli import app
from gateway.cli.exits import ExitCode
from gateway.client import Client, Message
from tests.integration.raw_client import until
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from click.testing import Result

    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis

STREAM = """
[[streams]]
name = "chat"
filter = "chat/#"
last_values = true
"""
SECRET = "the words of anne"


def publish(node: RunningGateway, topic: str, text: str) -> int:
    answer = httpx2.post(f"{node.url}/v1/topics/{topic}", json={"text": text})
    assert answer.status_code == 201, answer.text
    offset: int = answer.json()["offset"]
    return offset


def purge(node: RunningGateway, **query: str) -> dict[str, Any]:
    answer = httpx2.delete(f"{node.url}/v1/streams/chat/messages", params=query, timeout=HANG_SECONDS)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def frames_until(websocket: ClientConnection, op: str) -> list[dict[str, Any]]:
    frames = []
    async with asyncio.timeout(HANG_SECONDS):
        while not frames or frames[-1]["op"] != op:
            frames.append(json.loads(await websocket.recv()))
    return frames


async def history(node: RunningGateway, topic_filter: str, **start: Any) -> list[dict[str, Any]]:
    async with connect(node.ws_url) as websocket:
        await websocket.send(json.dumps({"op": "subscribe", "filter": topic_filter, "ref": 1} | start))
        return await frames_until(websocket, "caught_up")


@pytest.fixture(params=["memory:", "sqlite:data/streams.db", "redis"])
def nodes(
    request: pytest.FixtureRequest, gateway_process: StartGateway, redis_server: RunningRedis
) -> list[Any]:
    """One node, or two that share a Redis."""
    if request.param == "redis":
        return [gateway_process(f'[redis]\nurl = "{redis_server.url}"\n{STREAM}') for _ in range(2)]
    return [gateway_process(f'[store]\nurl = "{request.param}"\n{STREAM}')]


async def test_what_was_purged_is_given_by_nobody_and_told_to_every_reader(
    nodes: list[RunningGateway],
) -> None:
    first, last = nodes[0], nodes[-1]
    async with connect(last.ws_url) as live:
        # Whoever follows a stream has its newest messages at hand: those must go as well.
        await live.send(json.dumps({"op": "subscribe", "filter": "chat/#", "ref": 1}))
        await frames_until(live, "subscribed")
        for number in range(3):
            publish(first, "chat/anne", f"{SECRET} {number}")
            publish(first, "chat/bert", f"bert {number}")
        for _ in range(6):
            await asyncio.wait_for(live.recv(), HANG_SECONDS)
        await history(last, "chat/#", **{"from": "earliest"})

        purged = purge(first, filter="chat/anne")
        assert purged["purged"] == 3
        assert len(purged["nodes"]) == len(nodes)

        for node in nodes:
            whole = await history(node, "chat/#", **{"from": "earliest"})
            assert SECRET not in json.dumps(whole)
            gaps = [each for each in whole if each["op"] == "gap"]
            assert {each["reason"] for each in gaps} == {"purged"}
            assert [(each["from"], each["to"]) for each in gaps] == [(1, 1), (3, 3), (5, 5)]
            offsets = [each["offset"] for each in whole if each["op"] == "message"]
            assert offsets == [2, 4, 6]
            hers = await history(node, "chat/anne", **{"from": "earliest"})
            assert not [each for each in hers if each["op"] == "message"]
            page = httpx2.get(f"{node.url}/v1/streams/chat/messages", params={"filter": "chat/#"}).json()
            assert page["gap"] == {"reason": "purged", "from": 1, "to": 1}
            assert SECRET not in json.dumps(page)
            topics = httpx2.get(f"{node.url}/v1/streams/chat/topics").json()["topics"]
            assert [each["topic"] for each in topics] == ["chat/bert"]
        # What comes afterwards is delivered as ever.
        assert publish(first, "chat/anne", "again") == 7
        message = json.loads(await asyncio.wait_for(live.recv(), HANG_SECONDS))
        assert (message["offset"], message["data"]) == (7, {"text": "again"})


async def test_views_let_go_of_what_was_purged_on_every_node(nodes: list[RunningGateway]) -> None:
    first, last = nodes[0], nodes[-1]
    for name in ("anne", "ben"):
        publish(first, f"chat/{name}", SECRET)
    async with (
        Client(last.url) as client,
        client.state("chat/#") as chats,
        client.subscribe("chat/+", gaps=True) as plain,
    ):
        assert set(chats) == {"chat/anne", "chat/ben"}
        assert purge(first, filter="chat/anne")["purged"] == 1
        await until(lambda: set(chats) == {"chat/ben"})
        publish(first, "chat/ben", "later")
        # Whom no view was promised misses nothing of what it has had.
        async with asyncio.timeout(HANG_SECONDS):
            assert isinstance(message := await anext(plain), Message)
        assert message.data == {"text": "later"}


async def test_a_view_that_was_away_begins_anew_behind_a_purge(nodes: list[RunningGateway]) -> None:
    first, last = nodes[0], nodes[-1]
    publish(first, "chat/anne", SECRET)
    offset = publish(first, "chat/ben", "here")
    view = {"from": "snapshot"}
    [_, begun, *_] = await history(last, "chat/#", **view)
    assert begun["positions"]["chat"]["offset"] == offset
    resume = {"resume": begun["positions"]} | view
    [_, back, *_] = await history(last, "chat/#", **resume)
    assert back["recovered"]
    assert purge(first, filter="chat/anne")["purged"] == 1
    [_, back, *frames] = await history(last, "chat/#", **resume)
    assert not back["recovered"]
    assert [(each["topic"], each["snapshot"]) for each in frames[:-1]] == [("chat/ben", True)]
    # Whom it doesn't concern, and who has come since, goes on.
    assert (await history(last, "chat/ben", **resume))[1]["recovered"]
    offset = publish(first, "chat/ben", "later")
    # A snapshot is as of what this node has heard: one of the moment of the purge would not be gone on from.
    async with asyncio.timeout(HANG_SECONDS):
        while begun["positions"]["chat"]["offset"] < offset:
            [_, begun, *_] = await history(last, "chat/#", **view)
    [_, back, *_] = await history(last, "chat/#", resume=begun["positions"], **view)
    assert back["recovered"]


def test_only_what_is_before_an_offset_goes_and_a_second_call_finds_nothing(
    gateway_process: StartGateway,
) -> None:
    node = gateway_process(STREAM)
    for number in range(5):
        publish(node, "chat/x", str(number))
    assert purge(node, filter="chat/+", before="4")["purged"] == 3
    assert purge(node, filter="chat/+", before="4")["purged"] == 0
    page = httpx2.get(f"{node.url}/v1/streams/chat/messages", params={"from": "4"}).json()
    assert [each["offset"] for each in page["messages"]] == [4, 5]


def test_what_would_go_is_told_and_nothing_goes(nodes: list[RunningGateway]) -> None:
    node = nodes[-1]
    for number in range(5):
        publish(nodes[0], f"chat/{number % 2}", str(number))
    path = f"{node.url}/v1/streams/chat/messages"
    held = httpx2.get(f"{node.url}/v1/streams/chat").json()
    told = httpx2.delete(path, params={"filter": "#", "dry_run": "true"}).json()
    assert told == {"count": 5, "bytes": held["bytes"], "first": 1, "last": 5}
    told = httpx2.delete(path, params={"filter": "chat/0", "before": "5", "dry_run": "true"}).json()
    assert (told["count"], told["first"], told["last"]) == (2, 1, 3)
    assert 0 < told["bytes"] < held["bytes"]
    nothing = {"count": 0, "bytes": 0, "first": None, "last": None}
    assert httpx2.delete(path, params={"filter": "chat/no", "dry_run": "true"}).json() == nothing
    assert httpx2.get(f"{node.url}/v1/streams/chat").json()["messages"] == 5
    assert purge(node, filter="chat/0", before="5", dry_run="false")["purged"] == 2
    records = httpx2.get(f"{node.url}/v1/audit").json()["records"]
    assert [each["detail"] for each in records] == [
        {"purged": 2}, *({"count": count, "dry_run": True} for count in (0, 2, 5))
    ]  # fmt: skip


def test_a_purge_tells_how_far_it_has_come(nodes: list[RunningGateway]) -> None:
    items = [{"topic": f"chat/{number % 3}", "data": number} for number in range(1000)]
    for _ in range(3):
        httpx2.post(f"{nodes[0].url}/v1/publish", json=items, timeout=HANG_SECONDS).raise_for_status()
    answer = httpx2.delete(
        f"{nodes[-1].url}/v1/streams/chat/messages",
        params={"filter": "chat/+", "before": "2951"},
        headers={"accept": "application/x-ndjson"},
        timeout=HANG_SECONDS,
    )
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    *steps, last = map(json.loads, answer.text.splitlines())
    assert steps[0] == {"done": 0, "total": 2950}
    assert steps[-1] == {"done": 2950, "total": 2950}
    assert [each["done"] for each in steps] == sorted(each["done"] for each in steps)
    assert (last["purged"], last["missing"]) == (2950, [])
    assert len(last["nodes"]) == len(nodes)
    assert "complete" in last
    assert purge(nodes[0], filter="#")["purged"] == 50


def test_nothing_of_it_is_left_in_the_files(gateway_process: StartGateway) -> None:
    node = gateway_process(f'[store]\nurl = "sqlite:data/streams.db"\n{STREAM}')
    for _ in range(20):
        publish(node, "chat/anne", SECRET)
    files = [each for each in Path(node.directory).rglob("streams.db*") if each.is_file()]
    assert any(SECRET.encode() in each.read_bytes() for each in files), "it was written"
    assert purge(node, filter="chat/anne")["purged"] == 20
    assert not any(SECRET.encode() in each.read_bytes() for each in files)


def test_what_a_stream_captured_once_can_be_purged_alone(gateway_process: StartGateway) -> None:
    store = '[store]\nurl = "sqlite:data/streams.db"\n'
    node = gateway_process(store + STREAM)
    for name in ("anne", "bert"):
        publish(node, f"chat/old/{name}", name)
    node.stop()
    narrowed = store + STREAM.replace("chat/#", "chat/new/#")
    (node.directory / "gateway.toml").write_text(narrowed, "utf-8")
    node.start()
    url = f"{node.url}/v1/streams/chat/messages"
    assert httpx2.delete(url, params={"filter": "chat/old/anne", "dry_run": "true"}).json()["count"] == 1
    assert purge(node, filter="chat/old/anne")["purged"] == 1
    refused = httpx2.delete(url, params={"filter": "chat/old/anne"})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_filter")
    left = httpx2.get(url, params={"filter": "#"}).json()["messages"]
    assert [each["topic"] for each in left] == ["chat/old/bert"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 400),
        ({"filter": "a/#/b"}, 400),
        ({"filter": "other/#"}, 400),
        ({"filter": "#", "before": "0"}, 400),
        ({"filter": "#", "dry_run": "yes"}, 400),
    ],
)
def test_a_purge_says_what_goes(gateway_process: StartGateway, query: dict[str, str], status: int) -> None:
    node = gateway_process(STREAM)
    publish(node, "chat/x", "stays")
    assert httpx2.delete(f"{node.url}/v1/streams/chat/messages", params=query).status_code == status
    assert len(httpx2.get(f"{node.url}/v1/streams/chat/messages").json()["messages"]) == 1


def test_the_command_line_tells_what_would_go_and_purges(gateway_process: StartGateway) -> None:
    node = gateway_process(STREAM)
    for number in range(6):
        publish(node, f"chat/{number % 2}", str(number))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["streams", "purge", "chat", *arguments, "--url", node.url])

    told = run("--filter", "chat/0", "--before", "5", "--dry-run")
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("2 would be purged: ")
    assert told.stdout.endswith("offsets 1 to 3\n")
    assert run("--filter", "chat/no", "--dry-run").stdout == "0 would be purged\n"
    assert run("--filter", "chat/0", "--before", "5").stdout == "2 purged\n"
    assert run("--all").stdout == "4 purged\n"
    for wrong in ([], ["--all", "--filter", "chat/0"]):
        assert run(*wrong).exit_code == ExitCode.USAGE
    refused = run("--filter", "other/#")
    assert refused.exit_code == ExitCode.REFUSED
    assert "bad_filter" in refused.stderr
    shown = CliRunner().invoke(app, ["streams", "chat", "--json", "--url", node.url])
    assert json.loads(shown.stdout)["messages"] == 6, "what is purged counts as offsets"
