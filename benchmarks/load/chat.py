"""The small chat beside a heavy load, as a scenario sees it: started, and asked what it saw."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.load.fanout import percentiles
from benchmarks.machine import load_cpu

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIET_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What the chat saw.

    Attributes:
        pings: when (ns, monotonic) each was sent and how long (ns) its answer took.
        chats: the same of each message and each member of the room.
        missing: messages that a member has not got.
    """

    pings: Sequence[tuple[int, int]]
    chats: Sequence[tuple[int, int]]
    missing: int

    def problems(self) -> list[str]:
        return [f"{self.missing} chat messages did not arrive"] if self.missing else []


class Chat:
    """A running chat: ``benchmarks.load.chatter``, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int, seconds: float) -> Chat:
        """Return when it has connected; it runs for ``seconds``, and until ``heard`` is called."""
        module = [sys.executable, "-m", "benchmarks.load.chatter", str(port), str(seconds)]
        process = await asyncio.create_subprocess_exec(
            *("taskset", "--cpu-list", str(load_cpu()), *module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            limit=1 << 26,
        )
        assert process.stdout is not None
        await process.stdout.readline()
        return cls(process)

    async def heard(self) -> Heard:
        """Wait for its end.

        Raises:
            RuntimeError: it broke.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        printed, _ = await self._process.communicate()
        if self._process.returncode != 0:
            raise RuntimeError(f"the chat ended with {self._process.returncode}")
        return Heard(**json.loads(printed))


def milliseconds(
    seen: Sequence[tuple[int, int]], prefix: str, *, since: int = 0, until: int | None = None
) -> dict[str, float]:
    """Percentiles of what was sent from ``since`` on and before ``until`` (ns, monotonic)."""
    chosen = (took / 1e6 for sent, took in seen if sent >= since and (until is None or sent < until))
    return percentiles(sorted(chosen), prefix)
