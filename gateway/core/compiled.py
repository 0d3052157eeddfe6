"""Whether the hot path runs compiled, as ``FANOUT_GATEWAY_COMPILE=1`` asks for: this module is among it."""

from __future__ import annotations

from typing import Final

COMPILED: Final = not __file__.endswith(".py")
