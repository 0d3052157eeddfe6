"""The gateway itself, as ``gateway serve`` starts it."""

from __future__ import annotations

import copy
import json
import sys
from typing import TYPE_CHECKING

from benchmarks.load.client_frames import client_frame
from benchmarks.peers.base import Peer, Start, package_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.server_process import Ports

# The rates protect from clients that do what a publisher does here. Pings would only make the streams of
# subscribers differ; scenarios that hold connections for long keep the default interval.
SETTINGS = {
    "commands_per_second": "1000000000",
    "ping_interval": '"1h"',
    "subscriptions_per_connection": "100000",
}


class Gateway(Peer):
    name = "gateway"
    title = "this gateway, published to over one WebSocket"
    path = "/v1/ws"
    subprotocol = "gateway.v1"
    feed_path = "/v1/ws"
    suffix = 1
    reply = b'"op":"subscribed"'
    tables = ""

    def install(self) -> str:
        return package_version("fanout-gateway", "uvicorn", "uvloop", "websockets", "starlette")

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:
        limits = "\n".join(f"{name} = {value}" for name, value in (SETTINGS | dict(settings)).items())
        config = directory / "gateway.toml"
        config.write_text(
            f'[server]\nport = {ports.websocket}\nlog_level = "warning"\n[limits]\n{limits}\n{self.tables}',
            "utf-8",
        )
        return Start([sys.executable, "-m", "gateway", "serve", "--config", str(config)])

    def with_streams(self, **filters: str) -> Gateway:
        """The same with a SQLite store, its defaults, and streams by their names, each with its filter."""
        other = copy.copy(self)
        # A message more than is ever stored here, so that nothing is let go of.
        other.tables = "".join(
            f'[[streams]]\nname = "{name}"\nfilter = "{topic_filter}"\nmax_messages = 100_000_000\n'
            for name, topic_filter in filters.items()
        )
        return other

    def subscribe(self, filters: Sequence[str]) -> bytes:
        commands = ({"op": "subscribe", "filter": topic_filter} for topic_filter in filters)
        return b"".join(client_frame(json.dumps(command).encode()) for command in commands)

    def publish(self, topic: str, payload: bytes) -> bytes:
        return client_frame(b'{"op":"publish","topic":"%b","data":%b}' % (topic.encode(), payload))
