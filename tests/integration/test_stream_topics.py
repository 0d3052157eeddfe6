"""Streams that know their topics, through a real gateway: the command line, HTTP, sockets and events."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.patience import HANG_SECONDS

from .test_streams_http import get, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import RunningGateway, StartGateway

SETTINGS = """
[store]
url = "memory:"

[limits]
topics_per_read = 50

[[streams]]
name = "orders"
filter = "orders/#"

[[streams]]
name = "chat"
filter = "chat/#"
"""


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> Iterator[RunningGateway]:
    return module_gateway_process(SETTINGS)


def test_the_command_line_lists_topics_and_begins_with_the_newest(gateway: RunningGateway) -> None:
    for topic in ("orders/x/1", "orders/x/2", "orders/x", "orders/x/1", "orders/y"):
        publish(gateway, topic, topic.encode())
    command = ["topics", "orders", "--url", gateway.url, "--filter", "orders/x/#"]
    listed = CliRunner().invoke(app, command)
    assert listed.exit_code == 0, listed.output
    heading, *rows = listed.output.splitlines()
    assert heading.split() == ["FIRST", "LAST", "NEWEST", "VALUE", "TOPIC"]
    assert [row.split()[-1] for row in rows] == ["orders/x", "orders/x/1", "orders/x/2"]
    as_json = CliRunner().invoke(app, [*command, "--json", "--limit", "2"])
    assert [json.loads(line)["topic"] for line in as_json.stdout.splitlines()] == ["orders/x", "orders/x/1"]
    topics = get(gateway, "/v1/streams/orders/topics?filter=orders/x/1")["topics"]
    assert topics[0]["last"] - topics[0]["first"] == 3
    for option, topics_got in (
        (["--last", "2"], ["orders/x", "orders/x/1"]),
        (["--last-per-topic", "1"], ["orders/x/2", "orders/x", "orders/x/1"]),
    ):
        command = ["subscribe", "orders/x/#", "--url", gateway.url, *option, "--count", str(len(topics_got))]
        got = CliRunner().invoke(app, [*command, "--timeout", str(HANG_SECONDS)])
        assert [json.loads(line)["topic"] for line in got.stdout.splitlines()] == topics_got, got.output
    twice = CliRunner().invoke(app, ["subscribe", "orders/#", "--last", "2", "--from", "new:"])
    assert (twice.exit_code, "one of them says where to begin" in twice.stderr) == (2, True)


def test_events_begin_with_the_newest_of_each_topic(gateway: RunningGateway) -> None:
    for topic in ("orders/e/1", "orders/e/1", "orders/e/2", "orders/e/1"):
        publish(gateway, topic)
    path = f"{gateway.url}/v1/events?filter={quote('orders/e/+', safe='')}&from=last_per_topic:1"
    topics = []
    with urllib.request.urlopen(path, timeout=HANG_SECONDS) as events:
        for line in events:
            if line.startswith(b"data:") and b'"message"' in line:
                topics.append(json.loads(line[5:])["topic"])
            if b"caught_up" in line:
                break
    assert topics == ["orders/e/2", "orders/e/1"]


def test_more_topics_than_one_read_finds_are_looked_through_or_refused(gateway: RunningGateway) -> None:
    batch = [{"topic": f"chat/{number}", "data": number} for number in range(60)]
    for _ in range(2):
        request = urllib.request.Request(f"{gateway.url}/v1/publish", json.dumps(batch).encode())
        request.add_header("content-type", "application/json")
        urllib.request.urlopen(request, timeout=HANG_SECONDS).close()
    messages = f"/v1/streams/chat/messages?filter={quote('chat/+', safe='')}"
    assert len(get(gateway, f"{messages}&limit=1000")["messages"]) == 120
    newest = get(gateway, f"{messages}&limit=1000&from=last:70")["messages"]
    assert [each["data"] for each in newest] == [*range(50, 60), *range(60)]
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(gateway, f"{messages}&from=last_per_topic:1")
    with refused.value as answer:
        assert (answer.status, json.load(answer)["code"]) == (429, "too_many")
    got = CliRunner().invoke(app, ["subscribe", "chat/+", "--url", gateway.url, "--last-per-topic", "1"])
    assert (got.exit_code, got.stderr.startswith("gateway: too_many: ")) == (1, True)
    listed = CliRunner().invoke(app, ["topics", "chat", "--url", gateway.url, "--json"])
    assert len(listed.stdout.splitlines()) == 60
