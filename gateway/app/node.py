"""One node as it runs: in an application's life, or as a process of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from gateway.app.cluster import divert
from gateway.app.parts import NodeParts
from gateway.app.server import log_ready, open_sockets, server_config
from gateway.engine.runtime.garbage import GarbageCollection
from gateway.errors import NodeFailed
from gateway.transports.server.open_files import OpenFiles, allow_open_files
from gateway.transports.server.server import GatewayServer

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    from gateway.core.messages.publication import Publication
    from gateway.observability.metrics import Metrics
    from gateway.settings import Settings
    from gateway.transports.server.tls import Certificate

_LEARNING_SECONDS = 2.0
"""How long a node that begins waits to hear who is blocked: then clients are served all the same."""

_DEPARTING_SECONDS = 1.0
"""How long the store has to hear of the members of groups that go with the node."""


class GatewayNode(NodeParts):
    """One node: its parts, at work."""

    def run(
        self, sockets: list[socket.socket] | None = None, *, alive: Callable[[], None] | None = None
    ) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Args:
            sockets: to listen on; those of ``server.host`` and ``server.port`` if None.
            alive: called once a second as long as the event loop turns.

        Raises:
            OSError: the address can't be listened on.
            StoreUnusable: the streams that are kept can't be opened.
            NodeFailed: a part of the node has only failed, so it has ended.
        """
        allow_open_files()
        files = OpenFiles(lambda: self._refusals.count("open_files"))
        if sockets is None:
            sockets = open_sockets(self._settings)
        runner = GatewayServer(
            server_config(
                self.asgi,
                self._settings,
                self._certificate,
                files,
                room=self._room,
                unread=self._unread,
                door=self._door,
                requests=self._requests,
            ),
            prepare=self._streams.open,
            started=lambda: self._started(sockets[0].getsockname()),
            drain=self.drain,
            refuse=self.publisher.end,
            reload=self._reloading.on_signal,
            drain_seconds=self._settings.server.drain_seconds,
        )
        self._administration.drain = runner.leave
        self._upkeep.alive = files.looking(alive)
        self._supervision.give_up = runner.fail
        garbage = self._upkeep.garbage = GarbageCollection(now=self._clock())
        try:
            runner.run(sockets=sockets)
        finally:
            garbage.end()
        if runner.failure is not None:
            raise NodeFailed(f"its part {runner.failure!r} only fails; the log has the reason")

    def watch(self, show: Callable[[Metrics], None]) -> None:
        """Have ``show`` add to the metrics."""
        show(self.metrics)

    def _started(self, address: tuple[str, int]) -> None:
        if self._upkeep.garbage is not None:
            self._upkeep.garbage.begin()
        self.health.started = True
        log_ready(self._log, self._settings, address, node=self.node, encrypted=self._certificate is not None)

    async def drain(self) -> None:
        """Have clients leave that stay for long; takes no longer than ``server.drain_seconds``."""
        self.health.draining = True
        self._streams.reader.end()
        self._groups.puller.end()
        self._log.info("draining", connections=self._sessions.statistics().open)
        await self._sessions.drain(self._settings.server.drain_seconds)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the node: streams are open, the bus is heard, and clients are served.

        Raises:
            StoreUnusable: the streams that are kept can't be opened.
            ValueError: a setting demands what the system refuses.
        """
        cluster, live = self._cluster, self._streams.live
        deliver: Callable[[Publication], None] = self._delivery.deliver
        if cluster is not None and live is not None:
            deliver = divert(cluster, live, deliver)
        async with self._streams.running(), self._sending.running():
            await self._bus.start(deliver, self._delivery.announce_loss)
            async with anyio.create_task_group() as tasks:
                for name, run in self._tasks().items():
                    tasks.start_soon(self._supervision.keep, name, run)
                # It ends by itself where no issuer's keys are to be kept fresh.
                tasks.start_soon(self._supervision.until_done, "keys", self._keys.run)
                tasks.start_soon(self._supervision.until_done, "groups", self._streams.make_groups)
                if cluster is not None and not await cluster.learn_blocks(_LEARNING_SECONDS):
                    self._log.warning("serving before the other nodes have said who is blocked")
                self.health.started = True
                try:
                    yield
                finally:
                    # Members that went with the node have not failed: the store must hear of it.
                    with anyio.move_on_after(_DEPARTING_SECONDS, shield=True):
                        await self._groups.consumer.departed()
                    tasks.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        if cluster is not None:
                            await cluster.leave()
                        await self._bus.stop()
                        if self._shared_memory is not None:
                            await self._shared_memory.close()

    async def look(self) -> None:
        """Do now what is done each second: for who has moved the clock."""
        await self._upkeep.turn()

    def under_way(self) -> str | None:
        """What the node has yet to do of what it was given, in words; None: it only waits for more."""
        if self.hub.unwritten:
            return "messages are being written"
        if self._following is not None:
            if self._following.tails.statistics().failing:
                return "a stream can't be read"
            catching_up = self._following.catching_up.statistics()
            if catching_up.ready or catching_up.reading:
                return "history is being read"
        return None

    def progress(self) -> tuple[int, ...]:
        """Figures that change as long as something goes on in the node."""
        groups = self._groups.groups.counts.values()
        return (
            self.publisher.statistics().accepted,
            self.hub.delivered,
            *(each.delivered for each in groups),
            *(each.acknowledged + each.rejected for each in groups),
            *(each.facts().waiting_bytes for each in self._sessions.open.values()),
        )

    def _tasks(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the node does, by its name in metrics."""
        tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "upkeep": self._upkeep.run,
            "statistics": self._recorder.run,
        }
        if self._cluster is not None:
            tasks["cluster"] = self._cluster.run
        if self._following is not None:
            tasks["following"] = self._following.run
        if self._certificate is not None:
            tasks["certificate"] = self._certificate.watch
        return tasks


def build(settings: Settings, *, certificate: Certificate | None = None) -> GatewayNode:
    """Build one node from ``settings``; nothing runs yet."""
    return GatewayNode(settings, certificate=certificate)
