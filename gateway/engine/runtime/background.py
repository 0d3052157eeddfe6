"""Tasks that begin while the node runs: one parent for all of them.

Much of what begins them runs in callbacks of the event loop, outside of any task. anyio's task groups don't
work there once the package sniffio can be imported, which other libraries bring along; asyncio's do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.supervision import Supervision, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Background:
    """Starts tasks on behalf of synchronous code; they end with ``run``.

    Attributes:
        supervision: is told of what they raise, so that none of them takes the others with it.
    """

    def __init__(self, supervision: Supervision | None = None) -> None:
        self.supervision = supervision or Supervision()
        self._tasks: asyncio.TaskGroup | None = None
        self._ended = False

    async def run(self) -> None:
        """Be the parent of all that is started, for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None
                self._ended = True

    def start(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> None:
        """Run ``function`` as a task; after the end, do nothing.

        Raises:
            RuntimeError: ``run`` has yet to begin.
        """
        if self._tasks is not None:
            self._tasks.create_task(self._run(function, *arguments))
        elif not self._ended:
            raise RuntimeError("no task can be started before the node runs")

    async def _run(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> None:
        try:
            await function(*arguments)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            self.supervision.failed("background", error)
        except Exception as error:  # noqa: BLE001 - it would end all others
            self.supervision.failed("background", error)
