"""``gateway subscribe`` reading streams, against a real gateway process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gateway.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import RunningGateway

SECONDS = 20.0
SETTINGS = '[store]\nurl = "memory:"\n[[streams]]\nname = "orders"\nfilter = "orders/#"\n'


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
