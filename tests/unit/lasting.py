"""The register of lasting requests, for the doors' tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.auth.principal import AcceptEveryone
from gateway.core.cluster.block_list import BlockList
from gateway.engine.administration import GuardedAuthenticator
from gateway.engine.lasting import LastingRequests
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable


def lasting_requests(
    sessions: Sessions | None = None,
    *,
    blocks: BlockList | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> LastingRequests:
    """One over ``sessions``, whose principals may go on unless ``blocks`` says otherwise."""
    clock = time.monotonic
    if sessions is None:
        sessions = Sessions(limit=1000, clock=clock, refusals=Refusals())
    # Not ``or``: an empty list that a test is about to fill is false.
    blocked = BlockList() if blocks is None else blocks
    guard = GuardedAuthenticator(AcceptEveryone(), blocked, Refusals(), clock=clock, wall_clock=wall_clock)
    return LastingRequests(sessions, guard, clock=clock, wall_clock=wall_clock)
