"""Two servers as one: ``PORT COMMAND … -- COMMAND …``; the second starts once the first listens on PORT."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.server_process import accepts

if TYPE_CHECKING:
    from types import FrameType


def main() -> int:
    port, commands = int(sys.argv[1]), sys.argv[2:]
    cut = commands.index("--")
    first = subprocess.Popen(commands[:cut])
    running = [first]

    def end(_signal: int, _frame: FrameType | None) -> None:
        for process in running:
            process.terminate()

    signal.signal(signal.SIGTERM, end)
    while first.poll() is None and not accepts(port):
        time.sleep(0.02)
    running.append(subprocess.Popen(commands[cut + 1 :]))
    return max(process.wait() for process in running)


if __name__ == "__main__":
    sys.exit(main())
