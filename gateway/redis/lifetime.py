"""The beginning and the end of what runs over Redis: waited for, but not for long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

_LOOK_SECONDS = 0.005


async def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when ``condition`` holds, or without it after ``seconds``.

    It is looked at every few milliseconds: for the start and the end of something, not for its work.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition has no event
                await asyncio.sleep(_LOOK_SECONDS)


def log_failure(log: logging.Logger, what: str, running: asyncio.Task[None]) -> None:
    """Log as an error, with its traceback, that a task which should run for ever has failed.

    Args:
        log: where to.
        what: has failed, "the bus" for instance.
        running: has ended; when it was cancelled, that was meant.
    """
    if not running.cancelled() and (error := running.exception()) is not None:
        log.error("%s has failed", what, exc_info=error)
