"""Streams that know their topics, through a real gateway: the command line, HTTP, sockets and events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

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
