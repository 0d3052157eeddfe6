"""What the server's parts share: a log that a flood of one kind can't fill."""

from __future__ import annotations

import logging
from typing import Any

from gateway.transports.server.server_context import LimitedLog
from tests.unit.clock_loop import ClockLoop


def test_a_flood_of_one_kind_is_summed_up(caplog: Any) -> None:
    loop: Any = ClockLoop()
    log = LimitedLog(loop, logging.getLogger("test"))

    for number in range(100):
        log.warning("refused: %d", number)
    log.warning("another kind")
    loop.pass_time(10)
    log.warning("refused: %d", 100)

    assert [record.getMessage() for record in caplog.records] == [
        "refused: 0",
        "refused: 1",
        "refused: 2",
        "another kind",
        "97 more like this: refused: %d",
        "refused: 100",
    ]
