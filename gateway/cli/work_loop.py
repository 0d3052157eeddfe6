"""Run a worker for ``gateway work``: a connection, signals, and the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import anyio

from gateway.client import Client

if TYPE_CHECKING:
    import ssl

    from gateway.client import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What was asked for on the command line."""

    worker: Worker
    url: str
    token: str | None
    tls: ssl.SSLContext | None


async def run_shift(shift: Shift) -> bool:
    """Work until a signal says stop; return whether all that was begun was also ended.

    Raises:
        GatewayError: the gateway refused, or can't be reached at first, or the connection ended for good.
        ValueError: the URL is not valid.
    """
    if not logging.root.handlers:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    worker = shift.worker
    loop = asyncio.get_running_loop()
    async with Client(shift.url, token=shift.token, tls=shift.tls) as client:
        with anyio.CancelScope() as working:

            def stop() -> None:
                if worker.stopping:
                    log.warning("a second signal: what still runs is cut off")
                    working.cancel()
                worker.stop()

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            await worker.run(client)
    return not working.cancelled_caught and not worker.statistics().cut_off


def end_with(code: int) -> NoReturn:
    """End the process although threads may still run: Python would wait for them, however long they take."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
