"""What is left of removed publications in a SQLite store's files is overwritten."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.streams.sqlite.writing import Writer

T = TypeVar("T")
_EMPTY_TRIES = 100
_EMPTY_SECONDS = 0.02


class Run(Protocol):
    """Has the writing thread do something."""

    async def __call__(self, job: Callable[[], T], /) -> T: ...  # noqa: D102


async def overwrite_removed(run: Run, writer: Writer, stream: str) -> None:
    """Overwrite it in last values, free pages and the write-ahead log, in steps between transactions.

    Raises:
        StreamUnavailable: it could not be written; a part may be left.
    """
    after: int | None = 0
    while after is not None:
        after = await run(partial(writer.renew_values, stream, after))
    begun: int | None = 0
    while begun is not None:
        begun = await run(partial(writer.overwrite_free_pages, begun))
    for _ in range(_EMPTY_TRIES):
        if await run(writer.empty_write_ahead_log):
            break
        # Somebody reads; whoever begins now reads what is left.
        await asyncio.sleep(_EMPTY_SECONDS)
