"""``gateway subscribe`` reading streams, against a real gateway process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from gateway.client import Client
from tests.integration.raw_client import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import RunningGateway

SECONDS = 20.0
SETTINGS = """
[store]
url = "memory:"
[[streams]]
name = "orders"
filter = "orders/#"
[[streams]]
name = "devices"
filter = "devices/#"
last_values = true
"""


@pytest.fixture(scope="module")
def gateway(module_gateway_process: Callable[..., Any]) -> RunningGateway:
    running: RunningGateway = module_gateway_process(SETTINGS)
    return running


async def publish(gateway: RunningGateway, topic: str, *numbers: int) -> None:
    async with Client(gateway.url) as client:
        for number in numbers:
            await client.publish(topic, number)


def subscribe(gateway: RunningGateway, *arguments: str) -> tuple[int, list[Any], str]:
    """Run to the end; return the exit code, the data of what was printed, and stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "subscribe", "--url", gateway.url, *arguments],
        check=False,
        capture_output=True,
        timeout=SECONDS,
        env=environment,
    )
    return (
        done.returncode,
        [json.loads(line)["data"] for line in done.stdout.splitlines()],
        done.stderr.decode(),
    )


def start(gateway: RunningGateway, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway", "subscribe", "--url", gateway.url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def test_it_begins_where_it_is_told_to(gateway: RunningGateway) -> None:
    await publish(gateway, "orders/a", 1, 2, 3)
    _, data, _ = subscribe(gateway, "orders/a", "orders/+", "--from", "earliest", "--count", "3")
    assert data == [1, 2, 3]
    _, data, _ = subscribe(gateway, "orders/a", "--from", "last:2", "--count", "2")
    assert data == [2, 3]
    code, data, said = subscribe(gateway, "live/#", "--from", "5", "--timeout", "10")
    assert (code, data) == (1, [])
    assert "an offset needs exactly one stream" in said


async def test_the_position_file_goes_on_where_the_last_run_ended(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    kept = ("--position-file", str(tmp_path / "kept"), "--from", "earliest")
    await publish(gateway, "orders/b", 1, 2, 3)
    assert subscribe(gateway, "orders/b", *kept, "--count", "2")[:2] == (0, [1, 2])
    await publish(gateway, "orders/b", 4)
    assert subscribe(gateway, "orders/b", *kept, "--count", "2")[:2] == (0, [3, 4])
    # A run that gets nothing keeps its place too.
    assert subscribe(gateway, "orders/c", "--position-file", kept[1], "--timeout", "1")[:2] == (0, [])
    await publish(gateway, "orders/c", 9)
    assert subscribe(gateway, "orders/c", *kept, "--count", "1")[:2] == (0, [9])


async def test_a_snapshot_is_gone_on_behind_once_all_of_it_was_printed(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    file = tmp_path / "kept"
    kept = ("--position-file", str(file), "--from", "snapshot")
    for number in range(3):
        await publish(gateway, f"devices/{number}", number)
    # What was printed of one that was left within is a part, and nothing says which.
    assert subscribe(gateway, "devices/#", *kept, "--count", "2")[:2] == (0, [0, 1])
    assert json.loads(file.read_text("utf-8")) == {"devices/#": {}}
    reader = await anyio.to_thread.run_sync(start, gateway, "devices/#", *kept)
    try:
        await until(lambda: json.loads(file.read_text("utf-8")) != {"devices/#": {}})
    finally:
        reader.terminate()
        out, _ = await anyio.to_thread.run_sync(reader.communicate)
    assert [json.loads(line)["data"] for line in out.splitlines()] == [0, 1, 2]
    await publish(gateway, "devices/1", 9)
    assert subscribe(gateway, "devices/#", *kept, "--count", "1")[:2] == (0, [9])
