"""The processes that a process has started, as the kernel has them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def children(pid: int) -> list[int]:
    """Ids of those that still run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [child for child in map(int, listed.split()) if is_running(child)]


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def command_line(pid: int) -> str:
    """Its arguments; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for(condition: Callable[[], object], *, seconds: float = HANG_SECONDS) -> None:
    """Return once ``condition`` holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def wait_until_gone(pids: Iterable[int], *, seconds: float = HANG_SECONDS) -> None:
    """Return once none of ``pids`` runs any more."""
    left = list(pids)
    wait_for(lambda: not any(map(is_running, left)), seconds=seconds)
