"""S3: a long stream from its beginning to one subscriber, next to a loop over the rows of a SQLite table."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from benchmarks import payload
from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.client_frames import client_frame
from benchmarks.load.crowd import StallError, Subscriber
from benchmarks.load.dialling import dial
from benchmarks.load.fanout import Usage
from benchmarks.load.filling import fill
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.gateway import Gateway
from benchmarks.scenarios.base import (
    LOAD_CPU,
    MESSAGES_PER_CPU,
    MESSAGES_PER_SECOND,
    SERVER_CPU,
    TOPIC,
    Scenario,
)

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Running
    from benchmarks.peers.base import Peer

PER_SECOND = 100_000
MOST_SECONDS = 60.0
_ASK = client_frame(b'{"op":"subscribe","filter":"%b","from":"earliest"}' % TOPIC.encode())
_CAUGHT_UP = b'"op":"caught_up"'
_LAST_BYTES = 200
_OFFSET = re.compile(rb'"offset":(\d+)')


class Replayed(Subscriber):
    """Keeps the whole stream; the crowd's goal is reached when it has caught up.

    Counting the bytes that end payloads would do for the messages, but not say that nothing follows them.
    """

    __slots__ = ()

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        # Nothing follows it, so it is in the last bytes, however it was cut.
        if self.recording is not None and self.recording.stream.find(_CAUGHT_UP, -_LAST_BYTES) >= 0:
            self.crowd.arrived()


class Replay(Scenario):
    id = "S3"
    title = "1,000,000 publications of 128 bytes, from earliest, to one subscriber"
    peers = ("gateway", "sqlite-loop")
    columns = (
        MESSAGES_PER_SECOND,
        MESSAGES_PER_CPU,
        Column("first_milliseconds", "first after ms", 1),
        Column("publications", "publications"),
        Column("stored_per_second", "stored before / s"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = (
        Target("replay", "messages_per_second", 100_000),
        Target("replay", "messages_per_cpu_second", 1, over=("sqlite-loop", "replay")),
    )
    seconds = 10.0

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        count = max(100, round(PER_SECOND * bench.seconds * bench.scale))
        if isinstance(peer, Gateway):
            peer = peer.with_streams(bench="bench/#")
        async with running(peer) as at:
            begin = time.monotonic()
            await fill(at, TOPIC, count)
            stored = time.monotonic() - begin
            with no_garbage_collection(), bench.profiled(at.server, peer.name):
                figures, problems = await _replay(at, count)
            figures["stored_per_second"] = count / stored
            return [Measurement("replay", figures, problems)]


async def _replay(at: Running, count: int) -> tuple[dict[str, float], list[str]]:
    transport = await dial(at.peer, at.ports.websocket, ())
    subscriber = Replayed(at.crowd, transport, record=True)
    at.crowd.subscribers.append(subscriber)
    transport.set_protocol(subscriber)
    before, problems = Usage.now(at), []
    asked = time.monotonic_ns()
    transport.write(_ASK)
    try:
        # Out of reach by counting: it is `Replayed` that says when it is done.
        await at.crowd.reach(2 * count, seconds=MOST_SECONDS)
    except StallError as error:
        problems.append(str(error))
    after = Usage.now(at)
    wall, cpu = after.wall - before.wall, max(after.server - before.server, 0.01)
    assert subscriber.recording is not None
    stream, arrivals = subscriber.recording.stream, subscriber.recording.arrivals
    begun = stream.find(payload.END)
    first = next((when for length, when in arrivals if length > begun >= 0), asked)
    figures = {
        "messages_per_second": count / wall,
        "messages_per_cpu_second": count / cpu,
        "first_milliseconds": (first - asked) / 1e6,
        "publications": count,
        "server_cpu": cpu / wall * 100,
        "load_cpu": (after.load - before.load) / wall * 100,
    }
    return figures, problems + _wrong(stream, count)


def _wrong(stream: bytearray, count: int) -> list[str]:
    """Whether every publication is there, in order, under the offset that it must have."""
    expected, problems = list(range(1, count + 1)), []
    if payload.numbers(stream) != expected:
        problems.append(f"the subscriber did not get {count} messages in order")
    # The head of what is said before the first message tells of a position as well.
    messages = memoryview(stream)[max(0, stream.find(b'"op":"message"')) :]
    if [int(offset) for offset in _OFFSET.findall(messages)] != expected:
        problems.append("the offsets are not those of the messages")
    return problems
