"""The gateway itself, as ``gateway serve`` starts it."""

from __future__ import annotations

import copy
import json
import sys
import time
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchmarks.load.client_frames import client_frame
from benchmarks.load.dialling import upgrade_request
from benchmarks.load.returning import Asked
from benchmarks.peers.base import Peer, Start, package_version
from gateway.auth.jwt import sign
from gateway.auth.jwt_keys import secret_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
    environment: Mapping[str, str] = MappingProxyType({})
    bearers: Iterator[str] | None = None

    def install(self) -> str:
        return package_version("fanout-gateway", "uvicorn", "uvloop", "websockets", "starlette")

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:
        limits = "\n".join(f"{name} = {value}" for name, value in (SETTINGS | dict(settings)).items())
        config = directory / "gateway.toml"
        config.write_text(
            f'[server]\nport = {ports.websocket}\nlog_level = "warning"\n[limits]\n{limits}\n{self.tables}',
            "utf-8",
        )
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        return Start(command, self.environment)

    def with_streams(self, *, last_values: bool = False, **filters: str) -> Gateway:
        """The same with a SQLite store, its defaults, and streams by their names, each with its filter."""
        other = copy.copy(self)
        # A message more than is ever stored here, so that nothing is let go of.
        limits = "max_messages = 100_000_000\nmax_bytes = 100_000_000_000\n"
        if last_values:
            limits += "last_values = true\nlast_values_max_topics = 100_000_000\n"
        other.tables = "".join(
            f'[[streams]]\nname = "{name}"\nfilter = "{topic_filter}"\n{limits}'
            for name, topic_filter in filters.items()
        )
        return other

    def with_group(self, name: str, **settings: object) -> Gateway:
        """The same with a group of the stream that was named last."""
        other = copy.copy(self)
        lines = "".join(f"{setting} = {json.dumps(value)}\n" for setting, value in settings.items())
        other.tables += f'[[streams.groups]]\nname = "{name}"\n{lines}'
        return other

    def with_secret(self, secret: str) -> Gateway:
        """The same with a key that tokens are signed by; who has none may connect, and do nothing."""
        other = self.with_environment(BENCH_SECRET=secret)
        other.tables += (
            '[auth]\nmode = "optional"\n[[auth.keys]]\nalgorithm = "HS256"\nsecret = "env:BENCH_SECRET"\n'
        )
        return other

    def with_tokens(self, secret: str) -> Gateway:
        """The same with a key, and clients that each bear a token of their own in their handshake."""
        other = self.with_secret(secret)
        other.bearers = _tokens(secret)
        return other

    def token(self) -> str | None:
        return None if self.bearers is None else next(self.bearers)

    def with_environment(self, **environment: str) -> Gateway:
        """The same with settings from the environment."""
        other = copy.copy(self)
        other.environment = environment
        return other

    def subscribe(self, filters: Sequence[str]) -> bytes:
        commands = ({"op": "subscribe", "filter": topic_filter} for topic_filter in filters)
        return b"".join(client_frame(json.dumps(command).encode()) for command in commands)

    def asking(self, ports: Ports, topic_filter: str, **beginning: object) -> Asked:
        """A client that subscribes with ``from_`` or ``resume`` and has all when it has caught up."""
        command = {"op": "subscribe", "filter": topic_filter}
        command |= {name.rstrip("_"): value for name, value in beginning.items()}
        hello = upgrade_request(ports.websocket, self.path, self.subprotocol)
        return Asked(hello, client_frame(json.dumps(command).encode()))

    def unsubscribing(self, topic_filter: str) -> bytes:
        """The frame that ends a subscription."""
        return client_frame(json.dumps({"op": "unsubscribe", "filter": topic_filter}).encode())

    def publish(self, topic: str, payload: bytes) -> bytes:
        return client_frame(b'{"op":"publish","topic":"%b","data":%b}' % (topic.encode(), payload))


def _tokens(secret: str) -> Iterator[str]:
    """Tokens as issuers make them, each for another subject, that may do all that the scenarios do."""
    key = secret_key(secret)
    grants = {"subscribe": ["bench/#"], "publish": ["bench/#"]}
    for number in count():
        now = int(time.time())
        claims = {"iss": "https://issuer.example/", "sub": f"user-{number:08}", "aud": "gateway", "iat": now}
        claims |= {"exp": now + 3600, "jti": f"{number:032x}", "gateway": grants}
        yield sign(json.dumps(claims).encode(), key)
