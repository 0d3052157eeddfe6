"""The publishers' side of the servers here: lines ``topic payload`` over TCP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LineFeed(asyncio.Protocol):
    """Hands the complete lines of each read over, as pairs of topic and payload."""

    def __init__(self, publish: Callable[[list[tuple[bytes, bytes]]], None]) -> None:
        self._publish = publish
        self._begun = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._begun = (self._begun + data).split(b"\n")
        self._publish([(topic, payload) for topic, _, payload in (line.partition(b" ") for line in lines)])
