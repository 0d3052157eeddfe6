"""The machine that is measured on: its cores, its limits, what a reader of the figures must know of it."""

from __future__ import annotations

import os
import platform
import resource
from contextlib import suppress
from pathlib import Path


def server_cpu() -> int:
    """The core that servers run on."""
    return min(os.sched_getaffinity(0) | _pinned)


def load_cpu() -> int:
    """The core that the load runs on: another one, where there is another."""
    return max(os.sched_getaffinity(0) | _pinned)


# What this process was allowed before it was pinned: `pin_load` narrows it.
_pinned: set[int] = set()


def pin_load() -> None:
    """Keep this process on the load's core."""
    _pinned.update(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {load_cpu()})


def take_priority(pid: int = 0) -> None:
    """Have process ``pid`` (0: this one) go before others on its core, as far as the system allows."""
    try:
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
    except OSError:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, -10)


def prefer(pid: int) -> None:
    """Have all threads of process ``pid`` go before other processes, as far as the system allows.

    Other than by ``take_priority`` they share their core as they always do, so that a busy one doesn't keep
    its neighbours from working.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), -10)


def raise_file_limit() -> int:
    """Allow as many open files as the hard limit does, children too; return that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_possible(wanted: int) -> int:
    """``wanted``, or what the limit of open files leaves for connections in one process."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(wanted, int(hard * 0.9)) if hard != resource.RLIM_INFINITY else wanted


def description() -> dict[str, str]:
    """Processor, cores, kernel, Python; no name of the host."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "server / load core": f"{server_cpu()} / {load_cpu()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "open files": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
