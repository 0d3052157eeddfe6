"""How much memory the process has."""

from __future__ import annotations

import os

_STATM = "/proc/self/statm"


def resident_bytes() -> int | None:
    """The process's resident memory; None where the system doesn't tell (only Linux does)."""
    try:
        with open(_STATM, "rb") as told:
            return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
