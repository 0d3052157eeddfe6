"""Streams of a real gateway over HTTP and on the command line, and files that can't be used."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import RunningGateway, StartGateway

SETTINGS = """
[[streams]]
name = "orders"
filter = "orders/#"

[[streams]]
name = "few"
filter = "few/#"
max_messages = 3
"""


def get(gateway: RunningGateway, path: str) -> Any:
    with urllib.request.urlopen(gateway.url + path, timeout=HANG_SECONDS) as response:
        return json.load(response)


def publish(gateway: RunningGateway, topic: str, body: bytes = b"1", **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"{gateway.url}/v1/topics/{topic}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> Iterator[RunningGateway]:
    return module_gateway_process(SETTINGS)


def test_a_restart_keeps_messages_offsets_epoch_and_keys(gateway: RunningGateway) -> None:
    answers = [publish(gateway, "orders/a", b"%d" % number)[1] for number in range(3)]
    first = publish(gateway, "orders/a", b"x", **{"Idempotency-Key": "k"})
    before = get(gateway, "/v1/streams/orders/messages")
    gateway.restart()
    after = get(gateway, "/v1/streams/orders/messages")
    assert after == before
    assert [answer["offset"] for answer in answers] == [1, 2, 3]
    assert publish(gateway, "orders/a", b"x", **{"Idempotency-Key": "k"}) == first
    assert publish(gateway, "orders/a", b"y", **{"Idempotency-Key": "k"})[0] == 409
    assert publish(gateway, "orders/b")[1]["offset"] == 5


def test_only_what_is_captured_is_kept(gateway: RunningGateway) -> None:
    status, answer = publish(gateway, "live/a")
    assert (status, set(answer)) == (202, {"id"})
    status, answer = publish(gateway, "orders")
    assert (status, answer["stream"]) == (201, "orders")


def test_the_metrics_tell_of_each_stream(gateway: RunningGateway) -> None:
    publish(gateway, "few/a")
    stream = get(gateway, "/v1/streams/few")
    assert gateway.metric('gateway_stream_last_offset{stream="few"}') == stream["last"]
    assert gateway.metric('gateway_stream_first_offset{stream="few"}') == stream["first"]
    assert gateway.metric('gateway_stream_appended_total{stream="few"}') == stream["last"]
    assert gateway.metric('gateway_stream_failed_total{stream="few"}') == 0
    assert gateway.metric("gateway_store_connected") == 1
    assert gateway.metric("gateway_store_commits_total") >= 1
    assert get(gateway, "/readyz") == {"status": "ready"}


def test_the_command_line_shows_streams(gateway: RunningGateway) -> None:
    for _ in range(5):
        publish(gateway, "few/a")
    listed = CliRunner().invoke(app, ["streams", "--url", gateway.url])
    assert listed.exit_code == 0, listed.output
    heading, _, few = listed.output.splitlines()
    assert heading.split() == ["STREAM", "FILTER", "MESSAGES", "SIZE", "FIRST", "LAST", "OLDEST"]
    held = get(gateway, "/v1/streams/few")
    assert few.split()[:3] == ["few", "few/#", "3"]
    assert few.split()[5:7] == [str(held["first"]), str(held["last"])]
    one = CliRunner().invoke(app, ["streams", "few", "--url", gateway.url])
    assert "3 of at most 3" in one.output
    assert held["epoch"] in one.output
    as_json = CliRunner().invoke(app, ["streams", "--json", "--url", gateway.url])
    assert [json.loads(line)["name"] for line in as_json.stdout.splitlines()] == ["orders", "few"]
    unknown = CliRunner().invoke(app, ["streams", "a/b", "--url", gateway.url])
    assert (unknown.exit_code, unknown.stderr.startswith("gateway: not_found: ")) == (1, True)
    nobody = CliRunner().invoke(app, ["streams", "--url", "http://127.0.0.1:9"])
    assert nobody.exit_code == 3


def serve(directory: Path, store: Path) -> subprocess.CompletedProcess[str]:
    settings = directory / "other.toml"
    settings.write_text(f'[server]\nport = 0\n[store]\nurl = "sqlite:{store}"\n{SETTINGS}', "utf-8")
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(settings)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=3 * HANG_SECONDS, check=False, cwd=directory
    )


def test_a_second_gateway_on_the_same_file_is_refused_in_one_line(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    done = serve(tmp_path, gateway.directory / "data" / "streams.db")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "gateway: streams: " in done.stderr
    assert "another process" in done.stderr


def test_a_file_that_is_no_store_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "notes.txt"
    store.write_text("not a database, and longer than a header of SQLite's would be " * 20, "utf-8")
    before = store.read_bytes()
    done = serve(tmp_path, store)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert str(store) in done.stderr
    assert store.read_bytes() == before


def test_a_reader_that_waits_does_not_hold_up_the_end(gateway_process: StartGateway) -> None:
    gateway = gateway_process('[server]\ndrain_seconds = 300\n[store]\nurl = "memory:"\n' + SETTINGS)
    path = f"{gateway.url}/v1/streams/orders/messages?from=new&wait=30"
    command = [
        sys.executable,
        "-c",
        f"import urllib.request as r; print(r.urlopen({path!r}).read().decode())",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        try:
            while gateway.metric("gateway_store_readers_waiting") < 1:
                assert reader.poll() is None
            gateway.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]  # it runs
            answer = json.loads(reader.communicate(timeout=HANG_SECONDS)[0])
        finally:
            reader.kill()
    assert (answer["messages"], answer["next"]) == ([], 1)
    assert gateway.wait() == 0
