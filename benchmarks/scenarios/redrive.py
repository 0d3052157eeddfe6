"""Q4: a hundred thousand dead letters are sent back while others chat."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks.load.chat import QUIET_SECONDS, Chat, milliseconds
from benchmarks.load.members import Tally
from benchmarks.load.work_queue import FULL, MEMORY, REDIS, work_queue
from benchmarks.machine import take_priority
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.scenarios.base import Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

DEAD = 100_000
SLOWEST = 8_000
"""Dead letters a second that are sent back at least: the chat has to outlast them."""

MEMBERS = 10
STORES = (MEMORY, FULL, REDIS)


class Redrive(Scenario):
    id = "Q4"
    title = f"{DEAD:,} dead letters are sent back at once while 10 others chat at 100 per second"
    columns = (
        Column("stall_max", "longest stall ms", 1),
        Column("stall_p99", "stall p99 ms", 1),
        Column("quiet_max", "the same in quiet ms", 1),
        Column("chat_p99", "chat p99 ms", 1),
        Column("chat_max", "chat max ms", 1),
        Column("redriven_per_second", "sent back / s"),
    )
    targets = tuple(Target(store, "stall_max", at_most=100) for store in STORES)

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        return [await _measure(peer, bench, store) for store in STORES]


async def _measure(peer: Peer, bench: Bench, store: str) -> Measurement:
    count = max(1_000, round(DEAD * bench.scale))
    async with work_queue(peer, store, ack_wait="60s") as queue:
        await queue.fill(count)
        tally = Tally(count)
        members = await queue.join(tally, MEMBERS, answer=b'"op":"nack","dead":true')
        for each in members:
            each.begin()
        await tally.done()
        for each in members:
            each.leave()
        if store != FULL:
            # As in F9: what is asked is how long the node stops, not when the kernel gives it its core back.
            # One that writes files has to let the kernel work.
            take_priority(queue.at.server.pid)
        seconds = max(bench.seconds, count / SLOWEST)
        chat = await Chat.start(queue.port, QUIET_SECONDS + seconds)
        await asyncio.sleep(QUIET_SECONDS)
        with bench.profiled(queue.at.server, store):
            begin = time.monotonic_ns()
            sent_back = await queue.redrive()
            seconds = (time.monotonic_ns() - begin) / 1e9
        heard, told = await chat.heard(), await queue.figures()
        problems = tally.problems + heard.problems()
        if (sent_back, told["dead"], told["depth"]) != (count, 0, count):
            problems.append(f"{sent_back} of {count} were sent back, {told['dead']} are dead")
        end = begin + round(seconds * 1e9)
        figures = {
            **milliseconds(heard.pings, "quiet", until=begin),
            **milliseconds(heard.pings, "stall", since=begin, until=end),
            **milliseconds(heard.chats, "chat", since=begin, until=end),
            "redriven_per_second": sent_back / seconds,
        }
        return Measurement(store, figures, problems)
