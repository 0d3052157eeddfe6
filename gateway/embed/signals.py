"""Hears of the process' end at once, whatever server runs the application.

A server that is told to end waits for the requests under way before it tells the application, and a client
of server-sent events is a request that never ends: uvicorn waits for ever. So the signal is heard here too,
beside the server, which gets it as before.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class EndSignals:
    """Listens for the signals that a server ends by, beside the server's own handlers.

    A signal without a handler of the server's is left alone: it ends the process. In another thread than the
    main one there are no signals, and nothing is heard.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        """Have ``ended`` called in this event loop for each of them, once it is listened for."""
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._mine: dict[int, tuple[Handler, Handler]] = {}

    def listen(self) -> None:
        """Listen from now on; again where a server has set its own handlers since, as granian does."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            mine = self._mine.get(number)
            if callable(handler) and (mine is None or mine[0] is not handler):
                self._mine[number] = (self._beside(handler), handler)
                signal.signal(number, self._mine[number][0])

    def stop(self) -> None:
        """Give the signals back to whom they were of; whoever took one meanwhile keeps it."""
        for number, (mine, before) in self._mine.items():
            if signal.getsignal(number) is mine:
                signal.signal(number, before)
        self._mine.clear()

    def _beside(self, servers: Handler) -> Handler:
        def hear(number: int, frame: FrameType | None) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._ended)
            servers(number, frame)

        return hear
