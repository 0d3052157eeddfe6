"""A thread that does one job after another for the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_MOST_JOBS = 1000


class Worker:
    """Runs jobs in the order given; a thousand may wait.

    Not an executor of the standard library: the interpreter waits for those as it ends, and a disk that
    does not answer would keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Do ``job`` after those given before; its result or error is the future's.

        Raises:
            StreamUnavailable: too many wait, so the thread hangs.
        """
        if self._jobs.qsize() >= _MOST_JOBS:
            raise StreamUnavailable("the store of streams does not answer")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        # The caller may have gone; the job was done all the same.
        def resolve(result: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = job()
            except BaseException as raised:  # noqa: BLE001 - it is the caller's, and the thread goes on
                error = raised
            # A loop that has been closed meanwhile waits for nothing any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(resolve, result, error)

        self._jobs.put(work)
        return done

    def stop(self) -> None:
        """End behind the jobs given so far; returns at once."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
