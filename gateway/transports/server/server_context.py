"""What the connections of one running server share below the application: deadlines and a log.

Uvicorn makes the protocol objects itself, from its ``Config`` and ``ServerState``; the state is therefore
what everything of one server is found by.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gateway.engine.runtime.timeout_queue import TimeoutQueue

if TYPE_CHECKING:
    import asyncio

    from uvicorn.server import ServerState

_LOG_WINDOW_SECONDS = 10.0
_LINES_PER_WINDOW = 3


class Wait(Enum):
    """What a connection is given a limited time for."""

    HEAD = "a complete request head"
    BODY = "more of a request's body"
    REQUEST = "another request"
    MESSAGE = "the rest of a message"
    GONE = "the peer to go"
    TAKEN = "the peer to take what was written"

    # By identity, which is what equality is: the class's own is a Python function that hashes the name.
    __hash__ = object.__hash__


class LimitedLog:
    """Records that peers can cause: a few lines of each kind per ten seconds, and how many were left out.

    Whoever can make the server log a line per frame can fill its disk.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, logger: logging.Logger) -> None:
        self._loop = loop
        self._logger = logger
        self._windows: dict[str, tuple[float, int]] = {}

    def warning(self, text: str, *values: object) -> None:
        """Log ``text`` filled with ``values``; lines with the same ``text`` are of one kind."""
        if self._may_log(text):
            self._logger.warning(text, *values)

    def defect(self, text: str, error: BaseException) -> None:
        """Log ``text`` with the traceback of ``error``: ours, not the peer's."""
        if self._may_log(text):
            self._logger.error(text, exc_info=error)

    def _may_log(self, text: str) -> bool:
        now = self._loop.time()
        since, lines = self._windows.get(text, (now, 0))
        if now - since >= _LOG_WINDOW_SECONDS:
            if lines > _LINES_PER_WINDOW:
                self._logger.warning("%d more like this: %s", lines - _LINES_PER_WINDOW, text)
            since, lines = now, 0
        self._windows[text] = (since, lines + 1)
        return lines < _LINES_PER_WINDOW


class ServerContext:
    """The shared part of one server's connections.

    Attributes:
        connections: uvicorn's set of the protocol objects that its shutdown asks and waits for.
        draining: no connection is kept for a request after its next one.
    """

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections: set[Any] = state.connections
        self.draining = False
        self.logger = logging.getLogger("uvicorn.error")
        self.log = LimitedLog(loop, self.logger)
        self._deadlines: dict[tuple[Wait, float], TimeoutQueue] = {}

    def deadlines(self, wait: Wait, seconds: float) -> TimeoutQueue:
        """The deadlines of this kind and length."""
        found = self._deadlines.get((wait, seconds))
        if found is None:
            found = self._deadlines[wait, seconds] = TimeoutQueue(self.loop, seconds)
        return found


_contexts: WeakKeyDictionary[ServerState, ServerContext] = WeakKeyDictionary()


def context_of(state: ServerState, loop: asyncio.AbstractEventLoop) -> ServerContext:
    """The context of the server with this state; the same one for all its connections."""
    context = _contexts.get(state)
    if context is None or context.loop is not loop:
        context = _contexts[state] = ServerContext(state, loop)
    return context


def half_close(transport: asyncio.Transport) -> None:
    """End our direction and go on reading, so that the peer gets what was written.

    Closing a socket with bytes unread resets the connection, and a reset discards what the peer has not
    read yet: a client in the middle of a message that is too large would never see why it was closed.
    """
    if transport.is_closing():
        return
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.close()


def plain_socket(transport: asyncio.Transport) -> int | None:
    """The descriptor of the socket that gets what ``transport`` is given as it is; None with TLS."""
    found = transport.get_extra_info("socket")
    if found is None or transport.get_extra_info("sslcontext") is not None or transport.is_closing():
        return None
    descriptor: int = found.fileno()
    return None if descriptor < 0 else descriptor
