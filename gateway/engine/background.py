"""Tasks that begin while the node runs: one parent for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup


class Background:
    """Starts tasks on behalf of synchronous code; they end with ``run``."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._ended = False

    async def run(self) -> None:
        """Be the parent of all that is started, for ever."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None
                self._ended = True
                tasks.cancel_scope.cancel()

    def start(self, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> None:
        """Run ``function`` as a task; after the end, do nothing.

        Raises:
            RuntimeError: ``run`` has yet to begin.
        """
        if self._tasks is not None:
            self._tasks.start_soon(function, *arguments)
        elif not self._ended:
            raise RuntimeError("no task can be started before the node runs")
