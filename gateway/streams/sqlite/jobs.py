"""Jobs that wait for a transaction, and who waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import StreamUnavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from gateway.streams.sqlite.transaction import Job

T = TypeVar("T")


class Jobs:
    """Jobs of one transaction, in order."""

    __slots__ = ("_jobs",)

    def __init__(self, *parts: Jobs) -> None:
        """Take those of ``parts`` over, one after the other."""
        self._jobs: list[tuple[Job, asyncio.Future[Any]]] = []
        for each in parts:
            self._jobs += each._jobs  # noqa: SLF001 - its own kind
            each._jobs = []  # noqa: SLF001

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def parts(self) -> list[Job]:
        """What is to be done."""
        return [job for job, _ in self._jobs]

    def add(self, job: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """One more; its result, or the error that it comes to."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, done))
        return done

    def resolve(self, results: Sequence[object]) -> None:
        """They are done; an error among ``results`` is that job's own."""
        for (_, answer), result in zip(self._jobs, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    def fail(self, error: BaseException) -> None:
        """None of them was done."""
        told = error if isinstance(error, StreamUnavailable) else StreamUnavailable(str(error))
        for _, answer in self._jobs:
            if not answer.done():
                answer.set_exception(told)
                # Whoever asked may have gone meanwhile.
                answer.exception()
        self._jobs.clear()
