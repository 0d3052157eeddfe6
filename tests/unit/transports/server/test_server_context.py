"""What the server's parts share: a log that a flood of one kind can't fill."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gateway.transports.server.server_context import LimitedLog, plain_socket
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


@pytest.mark.parametrize(
    ("extra", "closing", "expected"),
    [
        ({"socket": 7}, False, 7),
        ({"socket": 7}, True, None),
        ({"socket": -1}, False, None),
        ({"socket": 7, "sslcontext": "any"}, False, None),
        ({}, False, None),
    ],
)
def test_a_socket_is_plain_when_it_takes_bytes_as_they_are(
    extra: dict[str, Any], closing: bool, expected: int | None
) -> None:
    class Socket:
        def fileno(self) -> int:
            number: int = extra["socket"]
            return number

    class Transport(asyncio.Transport):
        def is_closing(self) -> bool:
            return closing

    transport = Transport(extra | ({"socket": Socket()} if "socket" in extra else {}))
    assert plain_socket(transport) == expected
