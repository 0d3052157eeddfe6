"""Filling a log over HTTP, or a JetStream: one batch after the other, so that the order is known."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from benchmarks.load.dialling import connected_socket
from benchmarks.load.posting import Poster, request
from benchmarks.load.returning import Asked, Returning
from benchmarks.payload import Payloads
from benchmarks.peers.nats import JetStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Running

LINES = 5_000


async def fill(
    at: Running,
    topics: str | Callable[[int], str],
    count: int,
    *,
    size: int = 128,
    more: Callable[[int], str] | None = None,
) -> Payloads:
    """Publish ``count`` messages of ``size`` bytes, numbered from 1, each stored before this returns.

    Args:
        at: where.
        topics: one for all, or which one each number has.
        count: how many.
        size: of each, in bytes.
        more: further fields of the message with each number, as JSON that begins with a comma.

    Raises:
        RuntimeError: one was refused.
    """
    poster, payloads = await Poster.open(at.ports.websocket), Payloads(size)
    more_of = more or (lambda _: "")
    topic_of = topics if callable(topics) else lambda _: topics
    while payloads.sent < count:
        lines = min(LINES, count - payloads.sent)
        body = b"".join(
            b'{"topic":"%b"%b,"data":%b}\n'
            % (topic_of(payloads.sent + 1).encode(), more_of(payloads.sent + 1).encode(), payloads.make())
            for _ in range(lines)
        )
        before = poster.answered
        poster.transport.write(request("/v1/publish", "application/x-ndjson", body))
        await poster.answer(before + 1)
        if poster.refused or json.loads(poster.body).get("accepted") != lines:
            raise RuntimeError(f"{lines} lines were sent: {poster.body[:200]!r}")
    poster.transport.abort()
    return payloads


async def fill_jetstream(
    at: Running, topic_of: Callable[[int], str], topic_filter: str, count: int, *, size: int = 128
) -> None:
    """The same at a JetStream, in a stream of the topics that match ``topic_filter``.

    Raises:
        RuntimeError: the stream could not be made.
    """
    assert isinstance(at.peer, JetStream)
    client = Returning(Asked(b"", b""))
    await asyncio.get_running_loop().create_connection(lambda: client, sock=connected_socket(at.ports.feed))
    await client.ask(Asked(b"", at.peer.make_stream(topic_filter), b'"type"'))
    if b'"error"' in client.stream:
        raise RuntimeError(f"no stream: {bytes(client.stream[-200:])!r}")
    payloads = Payloads(size)
    client.write(b"SUB stored 2\r\n")
    while payloads.sent < count:
        some = min(LINES, count - payloads.sent)
        batch = b"".join(
            at.peer.publish_acknowledged(topic_of(payloads.sent + 1), payloads.make()) for _ in range(some)
        )
        await client.ask(Asked(b"", batch, b'"seq"', some))
    client.close()
