"""A node of which a part only fails ends, so that whoever started it starts it anew."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.integration.conftest import STOP_SECONDS
from tests.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
from gateway.cli import main
from gateway.core.timing.backoff import Backoff
from gateway.engine.runtime.upkeep import Upkeep
from gateway.supervision import Supervision

async def fail(self):
    raise ZeroDivisionError("upkeep")

Upkeep.run = fail
Supervision.__init__.__kwdefaults__["backoff"] = Backoff(first_seconds=0.01, limit_seconds=0.01)
sys.argv[1:] = ["serve", "--port", sys.argv[1]]
main()
"""


def test_it_ends_with_1_and_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(free_port())]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=3 * STOP_SECONDS, check=False
    )
    assert ended.returncode == 1
    *records, last = ended.stderr.splitlines()
    assert last == "gateway: the node ends: its part 'upkeep' only fails; the log has the reason"
    failed = [record for record in map(json.loads, records) if record["event"] == "upkeep has failed"]
    assert len(failed) >= 10
    assert all("ZeroDivisionError: upkeep" in record["exception"] for record in failed)
