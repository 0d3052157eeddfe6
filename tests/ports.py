"""Ports for servers that tests start, and start again: nobody else has one meanwhile.

A port that the system chooses is anybody's again until the server listens to it. These lie below those that
systems choose by themselves, and each process of tests has a block of them for as long as it lives.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from functools import cache

FIRST, BLOCK, BLOCKS = 10_000, 250, 40
BUS = 10_000
"""How far above its port a server of a Redis cluster has its second one; those are kept free too."""


@cache
def _claim() -> tuple[socket.socket, range]:
    """A block that no other process has; what says so ends with this one, however that ends."""
    for number in range(BLOCKS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0fanout-gateway-tests-ports-{number}")
        except OSError:
            claim.close()
            continue
        first = FIRST + number * BLOCK
        return claim, range(first, first + BLOCK)
    raise RuntimeError(f"{BLOCKS} processes have all ports that tests use")


@cache
def _round() -> itertools.cycle[int]:
    return itertools.cycle(_claim()[1])


def free_port() -> int:
    """A loopback port of this process that nothing listens on, and nothing on its second one."""
    for port in itertools.islice(_round(), BLOCK):
        with socket.socket() as probe, socket.socket() as second, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + BUS))
            return port
    raise RuntimeError(f"none of {_claim()[1]} is free")
