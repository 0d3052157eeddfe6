"""What Redis refuses of one stream, though it can be reached: counted, and told now and then."""

from __future__ import annotations

import asyncio
import logging

_LOG_SECONDS = 60.0
"""A refusal that lasts is told again this often."""

_log = logging.getLogger("gateway.streams")


class StoreRefusals:
    """Of appends, or of reads.

    Attributes:
        lasting: the last call was refused, or not answered in time.
        count: calls that were.
    """

    __slots__ = ("_logged_at", "_what", "count", "lasting")

    def __init__(self, what: str) -> None:
        """Count refusals of ``what``: "reading stream 's'", for instance."""
        self._what = what
        self._logged_at = 0.0
        self.lasting = False
        self.count = 0

    def refused(self, reason: object) -> None:
        """A call was refused, for ``reason``."""
        # Every refusal is counted, few are told: a full Redis refuses thousands of them in a second.
        self.count += 1
        now = asyncio.get_running_loop().time()
        if not self.lasting or now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            _log.warning("Redis refuses %s: %s", self._what, reason)
        self.lasting = True

    def passed(self) -> None:
        """A call was answered."""
        if self.lasting:
            self.lasting = False
            _log.info("Redis allows %s again", self._what)
