"""When Python looks for reference cycles, so that it never stops the event loop for long.

Left alone, the collector walks all long-lived objects every now and then: with 15,000 connections some
30 ms at a moment of its own choosing, and it is the largest single cost of a wave of connects. The
gateway's own objects hold no cycles once they are let go, so reference counts free them; what is left to
find comes from libraries and errors, and is little.
"""

from __future__ import annotations

import gc

_FULL_SECONDS = 600.0
"""Between two walks over everything."""

_YOUNG_OBJECTS = 4_000
"""New objects after which the youngest are looked at: some 1 ms during connects."""

_YOUNG_WALKS = 2
"""After so many of these walks the next also looks at what they left: some 4 ms during connects."""

_NEVER = 1 << 30


class GarbageCollection:
    """Collects the older generations by the clock instead of by the number of allocations."""

    def __init__(self, *, now: float) -> None:
        self._full_at = now + _FULL_SECONDS
        self._thresholds = gc.get_threshold()

    def begin(self) -> None:
        """Take over: what there is now stays for good, and is not looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_WALKS, _NEVER)

    def turn(self, now: float) -> None:
        """Look at what has been made since the last turn; once in a while at everything since ``begin``."""
        if now >= self._full_at:
            self._full_at = now + _FULL_SECONDS
            gc.collect()
        else:
            gc.collect(1)

    def end(self) -> None:
        """Give back to Python what it does by itself."""
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()
