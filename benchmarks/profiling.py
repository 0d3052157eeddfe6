"""``--profile``: where a Python server spends its time, by py-spy's samples."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.installing import install_python_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 200
TOP = 25


class Profiler:
    """Prints the top frames of what it records, by their own share and with what they called."""

    def __init__(self) -> None:
        if _executable() is None:
            install_python_packages()

    @contextmanager
    def recording(self, pid: int, label: str) -> Iterator[None]:
        executable = _executable()
        if executable is None:
            raise FileNotFoundError("py-spy could not be installed")
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            raw = Path(name) / "stacks"
            command = [executable, "record", "--pid", str(pid), "--format", "raw", "--output", str(raw)]
            spy = subprocess.Popen(
                [*command, "--rate", str(RATE), "--nonblocking", "--duration", "3600"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            time.sleep(0.5)  # it reads the process's symbols first; nothing tells when it is done
            try:
                yield
            finally:
                spy.send_signal(2)
                _, said = spy.communicate(timeout=30)
            if raw.exists():
                print(f"\n{label}\n{top_frames(raw.read_text('utf-8'))}")
            else:
                print(f"\n{label}: not recorded: {said.decode(errors='replace')[-300:]}", file=sys.stderr)


def top_frames(stacks: str) -> str:
    """A table of the frames with the largest share of their own; a line of ``stacks`` ends with its count."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(samples)
        for frame in set(frames):
            below[frame] += int(samples)
    total = own.total() or 1
    rows = [f"{'own':>7} {'total':>7}  frame ({total} samples)"]
    rows += [f"{n / total:7.1%} {below[frame] / total:7.1%}  {frame}" for frame, n in own.most_common(TOP)]
    return "\n".join(rows)


def _executable() -> str | None:
    return shutil.which("py-spy", path=str(Path(sys.executable).parent))
