"""F7: what it costs to publish, by each of the four ways, and into a stream with a token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection, running
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
    from benchmarks.bench import Bench, Running
    from benchmarks.payload import Payloads
    from benchmarks.peers.base import Peer

CONNECTIONS = 32
SUBSCRIBERS = 10
BATCH = 100
SMALL_BATCHES = (1, 10)
SECRET = "a secret for nothing but this measurement"
# Messages in flight of the ways that stream: less than an outbox holds (1024), so that nothing is dropped.
IN_FLIGHT = 768

Way = Callable[["Running", Publisher, float], Awaitable[None]]


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
        *(
            Target(
                f"batches of {size}, {SUBSCRIBERS} subscribers",
                "messages_per_cpu_second",
                1,
                over=("gateway", f"WebSocket, {SUBSCRIBERS} subscribers"),
            )
            for size in SMALL_BATCHES
        ),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        async with running(peer) as at:
            measurements = [await _measure(at, bench, "POST", post_single)]
            if peer.name == "gateway":
                crowd_filters = [[TOPIC]] * SUBSCRIBERS
                await dial_many(
                    peer, at.ports.websocket, crowd_filters, crowd=at.crowd, recorded=frozenset([0])
                )
                ways: dict[str, Way] = {
                    "POST": post_single,
                    **{f"batches of {size}": partial(post_batches, each=size) for size in SMALL_BATCHES},
                    "batches of 100": post_batches,
                    "NDJSON": post_lines,
                    "WebSocket": write_frames,
                }
                for name, way in ways.items():
                    label = f"{name}, {SUBSCRIBERS} subscribers"
                    measurements.append(await _measure(at, bench, label, way))
        if isinstance(peer, Gateway):
            stored = peer.with_streams(bench="bench/#").with_secret(SECRET)
            async with running(stored) as at:
                way = partial(post_single, token=_token())
                measurements.append(await _measure(at, bench, "POST, JWT, SQLite full", way))
        return measurements


async def _measure(at: Running, bench: Bench, label: str, way: Way) -> Measurement:
    publisher = await Publisher.open(at, [TOPIC], [len(at.crowd.subscribers)])
    if at.crowd.subscribers:
        await warm_up(publisher)
    with no_garbage_collection(), bench.profiled(at.server, f"{at.peer.name}, {label}"):
        figures, problems = await measured(publisher, partial(way, at, publisher, bench.seconds))
    if at.crowd.subscribers:
        # Requests on several connections may be carried out in any order: only streams are in order.
        figures_sent = publisher.payloads.sent
        if way in {post_lines, write_frames}:
            problems += same_stream(at.crowd.subscribers, range(1, figures_sent + 1))
        short = sum(subscriber.count != figures_sent for subscriber in at.crowd.subscribers)
        problems += [f"{short} subscribers did not get {figures_sent} messages"] if short else []
    publisher.close()
    return Measurement(label, figures, problems)


async def post_single(at: Running, publisher: Publisher, seconds: float, *, token: str | None = None) -> None:
    """One message a request, one request at a time on each connection."""

    def message() -> bytes:
        body = publisher.payloads.make()
        return request(f"/v1/topics/{TOPIC}", "application/json", body, token=token)

    await _keep_posting(at, publisher, message, CONNECTIONS, 1, seconds)


async def post_batches(at: Running, publisher: Publisher, seconds: float, *, each: int = BATCH) -> None:
    """``each`` messages a request, on four connections."""

    def batch() -> bytes:
        body = b",".join(_item(publisher.payloads) for _ in range(each))
        return request("/v1/publish", "application/json", b"[" + body + b"]")

    await _keep_posting(at, publisher, batch, 4, each, seconds)


async def _keep_posting(
    at: Running, publisher: Publisher, make: Callable[[], bytes], connections: int, each: int, seconds: float
) -> None:
    posters = [await Poster.open(at.ports.websocket) for _ in range(connections)]
    deadline = time.monotonic() + seconds
    idle: asyncio.Queue[None] = asyncio.Queue()

    def go_on(poster: Poster) -> None:
        if time.monotonic() < deadline:
            poster.transport.write(make())
        else:
            idle.put_nowait(None)

    for poster in posters:
        poster.on_answer = partial(go_on, poster)
        go_on(poster)
    async with asyncio.timeout(seconds + 30):
        for _ in posters:
            await idle.get()
    publisher.expected = publisher.payloads.sent * publisher.receivers[0]
    await publisher.arrival()
    refused = sum(poster.refused for poster in posters)
    answered = sum(poster.answered for poster in posters)
    for poster in posters:
        poster.transport.abort()
    if refused or answered * each != publisher.payloads.sent:
        raise RuntimeError(f"{refused} requests refused, {answered} answered: {posters[0].body[:200]!r}")


async def post_lines(
    at: Running, publisher: Publisher, seconds: float, *, in_flight: int = IN_FLIGHT
) -> None:
    """One endless request, a line a message."""
    poster = await Poster.open(at.ports.websocket)
    poster.transport.write(chunked_request("/v1/publish", "application/x-ndjson"))

    def lines(count: int) -> bytes:
        return chunk(b"".join(_item(publisher.payloads) + b"\n" for _ in range(count)))

    await _keep_streaming(
        publisher, lambda count: poster.transport.write(lines(count)), seconds, in_flight=in_flight
    )
    poster.transport.write(chunk(b""))
    await poster.answer(1)
    poster.transport.abort()
    accepted = json.loads(poster.body).get("accepted")
    if accepted != publisher.payloads.sent:
        raise RuntimeError(f"{publisher.payloads.sent} lines sent: {poster.body[:200]!r}")


async def write_frames(at: Running, publisher: Publisher, seconds: float) -> None:  # noqa: ARG001
    """One frame a message, on one connection."""
    await _keep_streaming(publisher, publisher.send, seconds)


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
