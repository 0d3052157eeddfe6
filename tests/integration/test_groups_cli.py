"""`gateway groups`, `dead-letters` and `consume` against a real gateway."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.patience import HANG_SECONDS

from .group_client import call, figures, publish

if TYPE_CHECKING:
    from click.testing import Result

    from .conftest import RunningGateway, StartGateway

SETTINGS = """
[store]
url = "memory:"

[[streams]]
name = "s"
filter = "s/#"

[[streams]]
name = "without"
filter = "w/#"
"""


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS)


@pytest.fixture
def group(gateway: RunningGateway, request: pytest.FixtureRequest) -> str:
    name = request.node.name[-60:]
    assert call(gateway, "PUT", f"streams/s/groups/{name}", {"max_deliver": 1, "backoff": []})[0] == 201
    return str(name)


def run(gateway: RunningGateway, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--url", gateway.url])


def lines(gateway: RunningGateway, *arguments: str) -> list[str]:
    done = run(gateway, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_groups_are_listed_and_a_message_is_explained(gateway: RunningGateway, group: str) -> None:
    offset = publish(gateway)
    publish(gateway)
    for named in ([], ["s"]):
        heading, *rows = lines(gateway, "groups", *named)
        assert heading.split()[:3] == ["STREAM", "GROUP", "DEPTH"]
        assert [row.split()[:4] for row in rows if group in row] == [["s", group, "2", "0"]]
    [found] = [each for each in map(json.loads, lines(gateway, "groups", "--json")) if each["name"] == group]
    assert (found["depth"], found["settings"]["max_deliver"]) == (2, 1)
    explained = lines(gateway, "groups", "explain", "s", group, str(offset))
    assert explained[0].split() == ["offset", str(offset)]
    assert "waiting" in explained[1]
    call(gateway, "POST", f"streams/s/groups/{group}/pull", {})
    assert any(
        "its member's answer" in line for line in lines(gateway, "groups", "explain", "s", group, str(offset))
    )
    unknown = run(gateway, "groups", "nowhere")
    assert (unknown.exit_code, unknown.stderr.startswith("gateway: not_found: ")) == (1, True)


def test_groups_are_watched_until_somebody_interrupts(gateway: RunningGateway, group: str) -> None:
    command = [sys.executable, "-m", "gateway", "groups", "s", "--watch", "--json", "--url", gateway.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout is not None
            depths: set[int] = set()
            for line in watching.stdout:
                shown = json.loads(line)
                if shown["name"] == group:
                    if not depths:  # once: a busy machine may show what was before several times
                        publish(gateway)
                    depths.add(shown["depth"])
                    if depths == {0, 1}:
                        break
            watching.send_signal(2)
            assert watching.wait(HANG_SECONDS) == 130
        finally:
            watching.kill()


def test_dead_letters_are_shown_sent_back_and_given_up(gateway: RunningGateway, group: str) -> None:
    path = f"streams/s/groups/{group}"
    for topic in ("s/a", "s/b", "s/c"):
        publish(gateway, topic, {"is": topic})
    pulled = call(gateway, "POST", f"{path}/pull", {"max": 10})[1]["deliveries"]
    call(gateway, "POST", f"{path}/nack", {"deliveries": [each["delivery"] for each in pulled]})
    heading, *rows = lines(gateway, "dead-letters", "s", group)
    assert heading.split()[0] == "ID"
    assert [row.split()[-3] for row in rows] == ["s/c", "s/b", "s/a"]
    letters = [
        json.loads(line) for line in lines(gateway, "dead-letters", "s", group, "--json", "--limit", "2")
    ]
    assert [each["data"] for each in letters] == [{"is": "s/c"}, {"is": "s/b"}]
    assert run(gateway, "dead-letters", "redrive", "s", group).exit_code == 2, "which ones must be said"
    assert run(gateway, "dead-letters", "discard", "s", group, "--all", "--filter", "#").exit_code == 2
    choice = ("--id", letters[0]["id"])
    assert lines(gateway, "dead-letters", "redrive", "s", group, *choice, "--dry-run") == [
        "1 would be sent back"
    ]
    assert figures(gateway, group)["dead"] == 3
    assert lines(gateway, "dead-letters", "redrive", "s", group, *choice) == ["1 sent back"]
    assert lines(gateway, "dead-letters", "discard", "s", group, "--filter", "s/b") == ["1 given up"]
    assert lines(gateway, "dead-letters", "discard", "s", group, "--all") == ["1 given up"]
    held = figures(gateway, group)
    assert (held["dead"], held["depth"]) == (0, 1)


def test_what_is_printed_is_acknowledged_unless_that_is_not_wanted(
    gateway: RunningGateway, group: str
) -> None:
    for number in range(3):
        publish(gateway, body={"number": number})
    printed = lines(gateway, "consume", "s", group, "--count", "2")
    assert [json.loads(line)["data"]["number"] for line in printed] == [0, 1]
    assert figures(gateway, group)["depth"] == 1
    lines(gateway, "consume", "s", group, "--no-ack", "--count", "1")
    assert (figures(gateway, group)["depth"], figures(gateway, group)["in_flight"]) == (1, 1)
    unknown = run(gateway, "consume", "s", "nobody", "--count", "1")
    assert (unknown.exit_code, unknown.stderr.startswith("gateway: not_found: ")) == (1, True)


def test_a_command_says_by_its_end_whether_it_was_done(gateway: RunningGateway, group: str) -> None:
    for body in ("good", "bad"):
        publish(gateway, body=body)
    command = f"{sys.executable} -c \"import sys; sys.exit('bad' in sys.stdin.read())\""
    lines(gateway, "consume", "s", group, "--exec", command, "--count", "2")
    held = figures(gateway, group)
    assert (held["depth"], held["dead"]) == (0, 1)
    publish(gateway)
    missing = run(gateway, "consume", "s", group, "--exec", "./there-is-none", "--count", "1")
    assert (missing.exit_code, "there-is-none" in missing.stderr) == (2, True)
    assert figures(gateway, group)["in_flight"] == 0
    assert run(gateway, "consume", "s", group, "--exec", "true", "--no-ack").exit_code == 2


def test_a_command_keeps_a_short_lease_and_gets_any_key(gateway: RunningGateway, group: str) -> None:
    settings = {"ack_wait": 1.5, "max_deliver": 1, "backoff": []}
    assert call(gateway, "PUT", f"streams/s/groups/{group}", settings)[0] == 200
    item = {"topic": "s/a", "data": 1, "key": "a\0b"}
    assert call(gateway, "POST", "publish", item, **{"Content-Type": "application/json"})[0] == 200
    # It ends once its lease lasts longer than it did.
    seen = """import json, os, sys, time, urllib.request
assert os.environ['GATEWAY_DELIVERY_KEY'] == 'a\N{REPLACEMENT CHARACTER}b'
def due():
    with urllib.request.urlopen(sys.argv[1]) as answer:
        return json.load(answer)['due']
first = due()
while due() == first:
    time.sleep(0.05)
"""
    where = f"{gateway.url}/v1/streams/s/groups/{group}/messages"
    offset = call(gateway, "GET", f"streams/s/groups/{group}/messages")[1]["messages"][0]["offset"]
    command = shlex.join([sys.executable, "-c", seen, f"{where}/{offset}"])
    lines(gateway, "consume", "s", group, "--exec", command, "--count", "1")
    held = figures(gateway, group)
    assert (held["depth"], held["dead"], held["redelivered"]) == (0, 0, 0)


def test_a_delay_can_be_given(gateway: RunningGateway, group: str) -> None:
    lines(gateway, "publish", "s/later", "1", "--delay", "60")
    assert call(gateway, "POST", f"streams/s/groups/{group}/pull", {}) == (200, {"deliveries": []})
    assert figures(gateway, group)["delayed"] == 1
