"""What a process does with a node: makes its application for another server, or serves until told to stop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.app import http as doors
from gateway.app.node import build
from gateway.observability.logs import configure_logs
from gateway.settings import read

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from gateway.settings import Settings


def create_app() -> Starlette:
    """Make the application for another ASGI server: ``uvicorn --factory gateway.app:create_app``.

    Settings come from the file and the environment. WebSockets are kept the portable way unless the server
    offers the takeover.

    Raises:
        InvalidSettings: a setting breaks a rule.
    """
    return doors.held_to_request_rules(build(read(None).settings).asgi)


def serve(settings: Settings) -> None:
    """Configure the log and run one node until it is told to stop.

    Raises:
        OSError: the address can't be listened on.
        StoreUnusable: the streams that are kept can't be opened.
        NodeFailed: a part of the node has only failed, so it has ended.
        ValueError: a hook's topic template or secret breaks a rule, or a key, grant or certificate does.
    """
    configure(settings)
    build(settings).run()


def configure(settings: Settings, *, worker: int | None = None, thread: bool = True) -> None:
    """Configure the log of the process; of several that are one gateway, ``worker`` tells which it is.

    A process that others are forked from must have no ``thread``.
    """
    configure_logs(
        level=settings.server.log_level,
        form=settings.server.log_format,
        secrets=settings.secret_texts(),
        fields={} if worker is None else {"worker": worker},
        thread=thread,
    )
    # Uvicorn tells of every handshake with its query string, where a token may be; we have our own record.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
