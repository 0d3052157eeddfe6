"""Tasks that are meant for ever, and what becomes of them when they end all the same.

A node is a handful of such tasks: one that ends in silence leaves half a node that goes on to say it is
ready. So each is kept by a ``Supervision``: an unexpected error is logged with its trace, counted, and the
task begins again, after waits that grow. One that only ever fails is given up, which ends the process:
whoever started it starts it anew, and until then nobody takes it for a node that works.

Shorter tasks, which begin while the node runs, have one parent: a ``Background``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.core.timing.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

BROKEN_AFTER: Final = 3
"""Failures in a row after which a node is no longer ready."""

GIVEN_UP_AFTER: Final = 10
"""Failures in a row after which a task is given up; with the waits between them some twenty seconds."""

_BACKOFF: Final = Backoff(first_seconds=0.1, limit_seconds=5.0)

_log = logging.getLogger("gateway.supervision")


class TaskEnded(Exception):  # noqa: N818 - says what happened
    """A task that is meant for ever has ended by itself."""


class Supervision:
    """Keeps tasks running, and knows which of them fail.

    Attributes:
        give_up: called with a task's name each time that it has failed once more than it may.
    """

    def __init__(self, *, backoff: Backoff = _BACKOFF) -> None:
        """Make it; ``backoff`` says how long to wait after so many failures, and when they count no more."""
        self._backoff = backoff
        self._counts: Counter[str] = Counter()
        self._failing: dict[object, tuple[str, int]] = {}
        self.give_up: Callable[[str], None] = _nobody

    async def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run ``run`` for ever: it begins again when it fails, and when it returns.

        Args:
            name: of the task in the log and in metrics: one of a small, fixed set.
            run: is called for each life of the task.
        """
        await self._keep(name, run, may_return=False)

    async def until_done(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run ``run`` again for as long as it fails; as ``keep``, but it may return."""
        await self._keep(name, run, may_return=True)

    def failed(self, name: str, error: BaseException) -> None:
        """Log and count the unexpected ``error`` of something that goes on by itself."""
        self._counts[name] += 1
        _log.error("%s has failed", name, exc_info=error)

    def fatal(self, name: str, error: BaseException) -> None:
        """As ``failed``, where beginning again makes no sense: the task is given up."""
        self.failed(name, error)
        # Under a key that nobody else has: it is never taken for working again.
        self._failing[object()] = (name, GIVEN_UP_AFTER)
        self.give_up(name)

    def broken(self) -> tuple[str, ...]:
        """The tasks that have failed so often in a row that the node is not what it should be."""
        return tuple(sorted({name for name, count in self._failing.values() if count >= BROKEN_AFTER}))

    def given_up(self) -> tuple[str, ...]:
        """The tasks that have failed more often in a row than they may."""
        return tuple(sorted({name for name, count in self._failing.values() if count >= GIVEN_UP_AFTER}))

    def statistics(self) -> Mapping[str, int]:
        """Failures since the start, by task."""
        return dict(self._counts)

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]], *, may_return: bool) -> None:
        loop = asyncio.get_running_loop()
        # Not its name: many tasks may have one, as the tails of all streams do.
        me, failures = object(), 0
        try:
            while True:
                began = loop.time()
                error = await self._live(me, run)
                if error is None and may_return:
                    return
                failures = self._backoff.failures(failures, lived_seconds=loop.time() - began)
                self._failing[me] = (name, failures)
                self.failed(name, error or TaskEnded(f"{name} has ended, and is meant for ever"))
                if failures >= GIVEN_UP_AFTER:
                    self.give_up(name)
                await asyncio.sleep(self._backoff.wait(failures))
        finally:
            self._failing.pop(me, None)

    async def _live(self, me: object, run: Callable[[], Awaitable[None]]) -> BaseException | None:
        """One life of a task, and what ended it; a task that lives on is not failing any more."""
        loop = asyncio.get_running_loop()
        stable = loop.call_later(self._backoff.stable_seconds, partial(self._failing.pop, me, None))
        try:
            await run()
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # Something that it awaited was cancelled, not the task: an end like any other.
            return exc
        except Exception as exc:  # noqa: BLE001 - whatever it is, the node must not lose the task to it
            return exc
        finally:
            stable.cancel()
        return None


class Background:
    """Starts tasks on behalf of synchronous code; they end with ``run``.

    Much of what begins them runs in callbacks of the event loop, outside of any task. anyio's task groups
    don't work there once the package sniffio can be imported, which other libraries bring along; asyncio's
    do.

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
                # Told apart from the time before `run`: who starts a task now is late, and not wrong.
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


def is_cancelled() -> bool:
    """Whether the running task is told to end.

    Where it isn't, a ``CancelledError`` comes from a future that somebody else has cancelled. Task groups
    take that for an end that was meant, without a word; anyio's then end all their other tasks, too.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _nobody(name: str) -> None:
    """Stand in for a ``give_up`` where nobody can end the process."""
