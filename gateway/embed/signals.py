"""Hears of the process' end at once, whatever server runs the application.

A server that is told to end waits for the requests under way before it tells the application, and a client
of server-sent events is a request that never ends: uvicorn waits for ever. So the signal is heard here too,
beside the server, which gets it as before.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def hearing_of_the_end(ended: Callable[[], None]) -> Iterator[None]:
    """Have ``ended`` called in this event loop for each signal that a server ends by.

    A signal without a handler of the server's is left alone: it ends the process. In another thread than the
    main one there are no signals: nothing is heard there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    heard = [(number, _hear(number, loop, ended)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, (mine, before) in heard:
            # Whoever took the signal meanwhile keeps it.
            if mine is not None and signal.getsignal(number) is mine:
                signal.signal(number, before)


def _hear(
    number: int, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]
) -> tuple[Callable[[int, FrameType | None], None] | None, Callable[[int, FrameType | None], object]]:
    before = signal.getsignal(number)
    if not callable(before):
        return None, _nothing
    servers: Callable[[int, FrameType | None], object] = before

    def hear(number: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended)
        servers(number, frame)

    signal.signal(number, hear)
    return hear, before


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Stands for no handler."""
