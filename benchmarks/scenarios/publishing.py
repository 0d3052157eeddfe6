"""F7: what it costs to publish, by each of the four ways, and into a stream with a token.

What a message costs depends on how many are in flight, since those that meet in a turn of the server share
its writes. So a batch stands beside frames of which as many are in flight: those of as many connections, each
of which sends so many and waits for their answers; and all of them on one connection that waits for nothing.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.awaiting import AwaitingPublisher
from benchmarks.load.checking import same_stream
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Publisher, measured, warm_up
from benchmarks.load.posting import Poster, chunk, chunked_request, request
from benchmarks.measurement import Measurement, Target
from benchmarks.peers.gateway import Gateway
from benchmarks.scenarios.base import (
    LOAD_CPU,
    MESSAGES_PER_CPU,
    MESSAGES_PER_SECOND,
    PER_CPU,
    SERVER_CPU,
    TOPIC,
    Scenario,
)
from gateway.auth.jwt import sign
from gateway.auth.jwt_keys import secret_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench, Running
    from benchmarks.payload import Payloads
    from benchmarks.peers.base import Peer

CONNECTIONS = 32
SUBSCRIBERS = 10
BATCH = 100
BATCH_CONNECTIONS = 4
SMALL_BATCHES = (1, 10)
SECRET = "a secret for nothing but this measurement"
# Messages in flight of the ways that stream: less than an outbox holds (1024), so that nothing is dropped.
IN_FLIGHT = 768
# Who waits for answers alone may be ahead of what subscribers have read, and nothing is to be dropped then.
ROOMY = {"outbox_messages": "100_000", "outbox_bytes": "100_000_000"}

Work = Callable[[float], Awaitable[None]]
"""Publishes for so many seconds."""
Way = Callable[["Running", Publisher], Awaitable[Work]]
"""Opens its connections first, which isn't what is measured."""
Client = TypeVar("Client", Poster, AwaitingPublisher)


def _crowded(label: str) -> str:
    return f"{label}, {SUBSCRIBERS} subscribers"


def _batches(each: int, connections: int) -> str:
    return f"batches of {each}" + ("" if connections == BATCH_CONNECTIONS else f", {connections} connections")


def _awaited(each: int, connections: int) -> str:
    return f"WebSocket, {each} awaited, {connections} connections"


def _many_connections(each: int) -> int:
    """So many that as many messages are in flight as on the connection that waits for nothing."""
    return math.ceil(IN_FLIGHT / each)


def _batch_targets() -> list[Target]:
    """A message of a small batch costs no more than one of frames of which as many are in flight."""
    targets = []
    for each in SMALL_BATCHES:
        many = _many_connections(each)
        few = _batches(each, BATCH_CONNECTIONS)
        pairs = [
            (few, _awaited(each, BATCH_CONNECTIONS)),
            (_crowded(few), _crowded(_awaited(each, BATCH_CONNECTIONS))),
            (_crowded(_batches(each, many)), _crowded(_awaited(each, many))),
            (_crowded(_batches(each, many)), _crowded("WebSocket")),
            (_crowded(few), _crowded("WebSocket")),
        ]
        figure = "messages_per_cpu_second"
        targets += [Target(batch, figure, 1, over=("gateway", frames)) for batch, frames in pairs]
    return targets


class Publishing(Scenario):
    id = "F7"
    grows = False
    title = "publishing: 32 keep-alive connections POST; batches of 1, 10 and 100; NDJSON; WebSocket"
    peers = ("gateway", "starlette")
    columns = (MESSAGES_PER_SECOND, MESSAGES_PER_CPU, PER_CPU, SERVER_CPU, LOAD_CPU)
    targets = (
        Target("NDJSON, 10 subscribers", "messages_per_second", 100_000),
        Target("POST", "messages_per_cpu_second", 1.3, over=("starlette", "POST")),
        Target("POST", "messages_per_second", 0.7, over=("starlette", "POST")),
        *_batch_targets(),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        async with running(peer, ROOMY) as at:
            measurements = [await _measure(at, bench, "POST", post_single)]
            if isinstance(peer, Gateway):
                for name, way in _paired_ways(many=False).items():
                    measurements.append(await _measure(at, bench, name, way))
                crowd_filters = [[TOPIC]] * SUBSCRIBERS
                await dial_many(
                    peer, at.ports.websocket, crowd_filters, crowd=at.crowd, recorded=frozenset([0])
                )
                ways: dict[str, Way] = {
                    "POST": post_single,
                    **_paired_ways(many=False),
                    **_paired_ways(many=True),
                    "batches of 100": post_batches,
                    "NDJSON": post_lines,
                    "WebSocket": write_frames,
                }
                for name, way in ways.items():
                    measurements.append(await _measure(at, bench, _crowded(name), way))
        if isinstance(peer, Gateway):
            stored = peer.with_streams(bench="bench/#").with_secret(SECRET)
            async with running(stored) as at:
                way = partial(post_single, token=_token())
                measurements.append(await _measure(at, bench, "POST, JWT, SQLite full", way))
        return measurements


def _paired_ways(*, many: bool) -> dict[str, Way]:
    """Small batches, and frames of which as many are in flight, on as many connections."""
    ways: dict[str, Way] = {}
    for each in SMALL_BATCHES:
        connections = _many_connections(each) if many else BATCH_CONNECTIONS
        ways[_batches(each, connections)] = partial(post_batches, each=each, connections=connections)
        ways[_awaited(each, connections)] = partial(write_awaited, each=each, connections=connections)
    return ways


async def _measure(at: Running, bench: Bench, label: str, way: Way) -> Measurement:
    publisher = await Publisher.open(at, [TOPIC], [len(at.crowd.subscribers)])
    work = await way(at, publisher)
    if at.crowd.subscribers:
        await warm_up(publisher)
    with no_garbage_collection(), bench.profiled(at.server, f"{at.peer.name}, {label}"):
        figures, problems = await measured(publisher, partial(work, bench.seconds))
    if at.crowd.subscribers:
        # Requests on several connections may be carried out in any order: only streams are in order.
        figures_sent = publisher.payloads.sent
        if way in {post_lines, write_frames}:
            problems += same_stream(at.crowd.subscribers, range(1, figures_sent + 1))
        short = sum(subscriber.count != figures_sent for subscriber in at.crowd.subscribers)
        problems += [f"{short} subscribers did not get {figures_sent} messages"] if short else []
    publisher.close()
    return Measurement(label, figures, problems)


async def post_single(at: Running, publisher: Publisher, *, token: str | None = None) -> Work:
    """One message a request, one request at a time on each connection."""

    def message() -> bytes:
        body = publisher.payloads.make()
        return request(f"/v1/topics/{TOPIC}", "application/json", body, token=token)

    return await _posting(at, publisher, message, CONNECTIONS, 1)


async def post_batches(
    at: Running, publisher: Publisher, *, each: int = BATCH, connections: int = BATCH_CONNECTIONS
) -> Work:
    """``each`` messages a request, one request at a time on each connection."""

    def batch() -> bytes:
        body = b",".join(_item(publisher.payloads) for _ in range(each))
        return request("/v1/publish", "application/json", b"[" + body + b"]")

    return await _posting(at, publisher, batch, connections, each)


async def write_awaited(at: Running, publisher: Publisher, *, each: int, connections: int) -> Work:
    """``each`` frames in one write, the next on that connection once all of them are answered."""
    assert isinstance(at.peer, Gateway)
    writers = [
        await AwaitingPublisher.open(at.peer, at.ports.websocket, number) for number in range(connections)
    ]

    def send(writer: AwaitingPublisher) -> None:
        writer.publish(TOPIC, [publisher.payloads.make() for _ in range(each)])

    return partial(_keep_asking, publisher, writers, send, 1)


async def _posting(
    at: Running, publisher: Publisher, make: Callable[[], bytes], connections: int, each: int
) -> Work:
    posters = [await Poster.open(at.ports.websocket) for _ in range(connections)]
    return partial(_keep_asking, publisher, posters, lambda poster: poster.transport.write(make()), each)


async def _keep_asking(
    publisher: Publisher, clients: Sequence[Client], send: Callable[[Client], None], each: int, seconds: float
) -> None:
    """Have every client ``send`` again when it is answered; an answer stands for ``each`` messages."""
    deadline = time.monotonic() + seconds
    idle: asyncio.Queue[None] = asyncio.Queue()

    def go_on(client: Client) -> None:
        if time.monotonic() < deadline:
            send(client)
        else:
            idle.put_nowait(None)

    for client in clients:
        client.on_answer = partial(go_on, client)
        go_on(client)
    async with asyncio.timeout(seconds + 30):
        for _ in clients:
            await idle.get()
    publisher.expected = publisher.payloads.sent * publisher.receivers[0]
    await publisher.arrival()
    refused = sum(client.refused for client in clients)
    answered = sum(client.answered for client in clients)
    for client in clients:
        client.transport.abort()
    if refused or answered * each != publisher.payloads.sent:
        raise RuntimeError(f"{refused} refused, {answered} answered: {clients[0].body[:200]!r}")


async def post_lines(at: Running, publisher: Publisher, *, in_flight: int = IN_FLIGHT) -> Work:
    """One endless request, a line a message."""
    poster = await Poster.open(at.ports.websocket)
    poster.transport.write(chunked_request("/v1/publish", "application/x-ndjson"))

    def write(count: int) -> None:
        lines = b"".join(_item(publisher.payloads) + b"\n" for _ in range(count))
        poster.transport.write(chunk(lines))

    async def work(seconds: float) -> None:
        await _keep_streaming(publisher, write, seconds, in_flight=in_flight)
        poster.transport.write(chunk(b""))
        await poster.answer(1)
        poster.transport.abort()
        accepted = json.loads(poster.body).get("accepted")
        if accepted != publisher.payloads.sent:
            raise RuntimeError(f"{publisher.payloads.sent} lines sent: {poster.body[:200]!r}")

    return work


async def write_frames(at: Running, publisher: Publisher) -> Work:  # noqa: ARG001
    """One frame a message, on one connection."""
    return partial(_keep_streaming, publisher, publisher.send)


async def _keep_streaming(
    publisher: Publisher, write: Callable[[int], None], seconds: float, *, in_flight: int = IN_FLIGHT
) -> None:
    """Have at most ``in_flight`` messages in flight, written by the quarter: nobody waits for long."""
    deadline = time.monotonic() + seconds
    quarter, receivers = in_flight // 4, publisher.receivers[0]
    while time.monotonic() < deadline:
        write(quarter)
        publisher.expected = (publisher.payloads.sent - 3 * quarter) * receivers
        await publisher.arrival()
    publisher.expected = publisher.payloads.sent * receivers
    await publisher.arrival()


def _token() -> str:
    """A token that ``SECRET`` has signed: its bearer may publish."""
    claims = {"sub": "bench", "exp": int(time.time()) + 3600, "gateway": {"publish": ["bench/#"]}}
    return sign(json.dumps(claims).encode(), secret_key(SECRET))


def _item(payloads: Payloads) -> bytes:
    return b'{"topic":"%b","data":%b}' % (TOPIC.encode(), payloads.make())
