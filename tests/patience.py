"""How long tests wait: bounds that a gateway on a busy machine keeps, and a broken one does not."""

from __future__ import annotations

PATIENCE = 5
"""Times what is promised: promises are about machines with time to spare, and tests share theirs."""

HANG_SECONDS = 20.0
"""For what is promised, but for no time: whatever comes at all is there by then.

What would come by itself, for a reader's or a drain's time is over, is given longer than this by its test.
"""
