"""A process that works off a group in a SQLite store, and says so line by line, until it is killed.

p OFFSET             a publication was answered
d OFFSET FENCE ATTEMPT   a delivery was given
a OFFSET             an acknowledgement was answered
x OFFSET ATTEMPTS    in the end: a dead letter
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.commands import Start, StartKind
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.limits import StoreLimits
from gateway.streams.sqlite.store import SqliteStore

POISON = 5
"""Every publication whose offset this divides fails whenever it is delivered."""

MAX_DELIVER = 3
GROUP = GroupConfiguration(
    "g", start=Start(StartKind.EARLIEST), ack_wait=0.3, max_deliver=MAX_DELIVER, backoff=(0.01,)
)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def publish(store: SqliteStore, ended: asyncio.Event) -> None:
    while not ended.is_set():
        made = [store.append("s", Publication("s/t", "m", 0, b"1", key=f"k{each % 3}")) for each in range(5)]
        for answer in await asyncio.gather(*made):
            say("p", answer.offset)
        await asyncio.sleep(0.001)


async def work(store: SqliteStore, member: str, done: asyncio.Event) -> None:
    while not done.is_set():
        for each in (await store.groups.take("s", "g", [member] * 4)).deliveries:
            offset = each.lease.offset
            say("d", offset, each.lease.fence, each.attempt)
            if offset % POISON == 0:
                # By turns it says so, or forgets about it.
                if each.attempt % 2:
                    await store.groups.reject("s", "g", [each.lease])
            elif (await store.groups.acknowledge("s", "g", [each.lease]))[0]:
                say("a", offset)
        await asyncio.sleep(0.001)


async def finish(store: SqliteStore, done: asyncio.Event) -> None:
    while (await store.groups.figures("s", "g")).depth:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)
    done.set()
    after: str | None = None
    while True:
        letters, after = await store.groups.dead_letters("s", "g", after=after, limit=100)
        for each in letters:
            say("x", each.publication.offset, each.attempts)
        if after is None:
            return


async def main(path: Path, *, last: bool) -> None:
    limits = StoreLimits(timeout=60.0, recent_messages=16)
    store = SqliteStore(path, [StreamConfiguration("s", "s/#")], synchronous="normal", limits=limits)
    await store.start()
    await store.groups.put("s", GROUP)
    ended, done = asyncio.Event(), asyncio.Event()
    if last:
        ended.set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish(store, ended))
        for each in range(3):
            tasks.create_task(work(store, f"m{each}", done))
        if last:
            tasks.create_task(finish(store, done))
    await store.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), last=sys.argv[2:] == ["last"]))
