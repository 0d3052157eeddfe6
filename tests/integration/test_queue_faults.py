"""Members, nodes and Redis are killed and paused and links are cut, while a group is worked off.

Real processes, gateways on uvloop as in production. Members say what they do; what they said, and what a
group says in the end, must fit together: every publication is done or a dead letter, nobody gets what is
done, and each repeat has a reason.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.integration.group_client import Consumer, call, consumer, figures, publish
from tests.integration.outage import PATIENT_REDIS, until_status
from tests.integration.queue_member import ACK_WAIT, KINDS, MAX_DELIVER, POISON
from tests.integration.raw_client import until
from tests.integration.slow_link import SlowLink, slow_link
from tests.patience import HANG_SECONDS, PATIENCE
from tests.redis_process import redis_servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
STREAMS = f"""
[[streams]]
name = "s"
filter = "s/#"
[[streams.groups]]
name = "g"
ack_wait = {ACK_WAIT}
max_deliver = {MAX_DELIVER}
backoff = [0.02, 0.05]
max_in_flight = 20
ordered_by_key = true
"""
PUBLICATIONS = 240
KEYS = 40
FAULTS = 9
SLACK_MS = 1_000 * PATIENCE
"""How much later somebody may say that his connection has ended than it has."""


@dataclass
class Member:
    """A process, and what it said."""

    process: subprocess.Popen[bytes]
    path: Path
    killed_at: int | None = None

    def said(self) -> list[tuple[str, int, int, int, int]]:
        found = []
        # Of a line that a kill has cut there is no more than a part.
        for line in self.path.read_text().split("\n")[:-1]:
            word, *numbers = line.split()
            found.append((word, *map(int, numbers)))
        return found  # type: ignore[return-value]


@dataclass
class World:
    """Nodes, with or without Redis, and members."""

    nodes: list[RunningGateway]
    links: list[SlowLink]
    """The members' ways to the nodes."""
    directory: Path
    redis: RunningRedis | None = None
    redis_links: list[SlowLink] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    gone: list[Member] = field(default_factory=list)

    def start_member(self) -> None:
        number = len(self.members) + len(self.gone)
        path = self.directory / f"member-{number}"
        door = "http" if number % 4 == 3 else "socket"
        urls = [f"http://127.0.0.1:{each.port}" for each in self.links]
        urls = urls[number % len(urls) :] + urls[: number % len(urls)]
        command = [sys.executable, "-m", "tests.integration.queue_member", door, *urls]
        with path.open("wb") as said, (self.directory / f"errors-{number}").open("wb") as errors:
            process = subprocess.Popen(command, stdout=said, stderr=errors)
        self.members.append(Member(process, path))

    def kill_member(self, member: Member) -> None:
        self.members.remove(member)
        self.gone.append(member)
        member.process.kill()
        member.process.wait()
        member.killed_at = time.time_ns() // 1_000_000

    def check_members(self) -> None:
        for each in self.directory.glob("errors-*"):
            assert "Traceback" not in (text := each.read_text()), text


async def kill_member(world: World, chance: random.Random) -> None:
    world.kill_member(chance.choice(world.members))
    world.start_member()


async def pause_member(world: World, chance: random.Random) -> None:
    process = chance.choice(world.members).process
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(chance.choice([0.2, ACK_WAIT * 1.5]))
    process.send_signal(signal.SIGCONT)


async def cut_members(world: World, chance: random.Random) -> None:
    link = chance.choice(world.links)
    await asyncio.to_thread(chance.choice([link.reset, link.end]))


async def lose_answers(world: World, chance: random.Random) -> None:
    """What members say comes through, what is said to them doesn't; then the link is cut."""
    link = chance.choice(world.links)
    link.back.bytes_per_second = 0
    await asyncio.sleep(chance.uniform(0.05, 0.3))
    await asyncio.to_thread(link.reset)
    link.heal()


async def kill_node(world: World, chance: random.Random) -> None:
    node = chance.choice(world.nodes)
    node.kill()
    await asyncio.to_thread(node.start)


async def pause_node(world: World, chance: random.Random) -> None:
    node = chance.choice(world.nodes)
    os.kill(node.pid, signal.SIGSTOP)
    await asyncio.sleep(chance.choice([0.2, ACK_WAIT * 1.5]))
    os.kill(node.pid, signal.SIGCONT)


async def kill_redis(world: World, _chance: random.Random) -> None:
    assert world.redis is not None
    await asyncio.to_thread(world.redis.restart)


async def pause_redis(world: World, chance: random.Random) -> None:
    assert world.redis is not None
    world.redis.freeze()
    await asyncio.sleep(chance.choice([0.2, ACK_WAIT * 1.5]))
    world.redis.thaw()


async def cut_redis(world: World, chance: random.Random) -> None:
    await asyncio.to_thread(chance.choice(world.redis_links).reset)


async def lose_redis_answers(world: World, chance: random.Random) -> None:
    link = chance.choice(world.redis_links)
    link.back.bytes_per_second = 0
    await asyncio.sleep(chance.uniform(0.05, 0.3))
    await asyncio.to_thread(link.reset)
    link.heal()


OF_MEMBERS: list[Any] = [kill_member, pause_member, cut_members, lose_answers]
OF_NODES: list[Any] = [kill_node, pause_node]
OF_REDIS: list[Any] = [kill_redis, pause_redis, cut_redis, lose_redis_answers]
FAULTS_OF = {
    "memory": [*OF_MEMBERS, pause_node],
    "sqlite": [*OF_MEMBERS, *OF_NODES, kill_node],
    "redis": [*OF_MEMBERS, *OF_NODES, *OF_REDIS],
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def settings() -> str:
    """Of the stream and its group."""
    return STREAMS


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    stack: ExitStack,
    tmp_path: Path,
    gateway_process: StartGateway,
    settings: str,
) -> Iterator[World]:
    files, server, redis_links = [f'[store]\nurl = "memory:"\n{settings}'], None, []
    if request.param == "sqlite":
        files = [f'[store]\nurl = "sqlite:{tmp_path}/db"\n{settings}']
    elif request.param == "redis":
        (server,) = stack.enter_context(redis_servers(tmp_path, DURABLE))
        redis_links = [stack.enter_context(slow_link(server.port)) for _ in range(2)]
        patience = "timeout = 0.6\n" if settings == STREAMS else PATIENT_REDIS
        files = [f'[redis]\nurl = "{each.url}"\n{patience}{settings}' for each in redis_links]
    nodes = [gateway_process(each) for each in files]
    links = [stack.enter_context(slow_link(each.port)) for each in nodes]
    world = World(nodes, links, tmp_path, server, redis_links)
    yield world
    for member in list(world.members):
        world.kill_member(member)


async def until_ready(nodes: list[RunningGateway]) -> None:
    for each in nodes:
        await until_status(each, "ready")


async def publish_all(world: World) -> None:
    """Each publication once, whatever comes in between: by its key it is known again."""
    async with httpx2.AsyncClient() as http:
        for number in range(PUBLICATIONS):
            headers = {"Idempotency-Key": f"p{number}", "Gateway-Key": f"k{number % KEYS}"}
            async with asyncio.timeout(2 * HANG_SECONDS):
                while True:
                    node = world.nodes[number % len(world.nodes)]
                    try:
                        answer = await http.post(
                            f"{node.url}/v1/topics/s/a", json=number, headers=headers, timeout=2
                        )
                    except httpx2.HTTPError:
                        await asyncio.sleep(0.05)
                        continue
                    if answer.status_code == 201:
                        break
                    assert answer.status_code == 503, answer.text
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.01)


def settled(world: World) -> dict[str, Any] | None:
    """The group's figures once it has nothing to do."""
    status, found = call(world.nodes[-1], "GET", "streams/s/groups/g")
    return found if status == 200 and found["depth"] == 0 else None


def dead_letters(node: RunningGateway) -> dict[int, int]:
    """Attempts by offset, read page by page."""
    found: dict[int, int] = {}
    after = ""
    while True:
        status, page = call(node, "GET", f"streams/s/groups/g/dead-letters?limit=7{after}")
        assert status == 200, page
        for each in page["items"]:
            assert each["offset"] not in found
            found[each["offset"]] = each["attempts"]
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"


@dataclass
class LeaseSeen:
    """What was said of one lease."""

    offset: int
    fence: int
    attempt: int
    deadline: int
    words: set[str] = field(default_factory=set)
    ended_by: list[int] = field(default_factory=list)
    """When its member's connection was cut, or it was killed."""


def leases_seen(world: World) -> dict[int, list[LeaseSeen]]:
    """All leases of which members told, by offset, in order."""
    found: dict[tuple[int, int], LeaseSeen] = {}
    for member in [*world.members, *world.gone]:
        mine: list[LeaseSeen] = []
        for word, offset, fence, number, when in member.said():
            if word == "took":
                assert (offset, fence) not in found, "one lease was given to two"
                lease = found[offset, fence] = LeaseSeen(offset, fence, number, when)
                mine.append(lease)
            elif word == "cut":
                for each in mine:
                    each.ended_by.append(when)
            else:
                lease = found[offset, fence]
                lease.words.add(word)
                if word == "extended":
                    lease.deadline = max(lease.deadline, when)
        if member.killed_at is not None:
            for each in mine:
                each.ended_by.append(member.killed_at)
    by_offset: defaultdict[int, list[LeaseSeen]] = defaultdict(list)
    for each in sorted(found.values(), key=lambda lease: lease.fence):
        by_offset[each.offset].append(each)
    return by_offset


def check_leases(leases: list[LeaseSeen]) -> None:
    """Nobody got what was done, no lease began before the last one was over, and failures were counted."""
    for before, after in pairwise(leases):
        assert "acked" not in before.words, (before, after)
        assert before.attempt < after.attempt, (before, after)
        began = after.deadline - round(ACK_WAIT * 1000)
        if "extended" in after.words:
            continue
        over = "nacking" in before.words or before.deadline <= began
        assert over or any(each <= began + SLACK_MS for each in before.ended_by), (before, after)


@pytest.mark.parametrize(("world", "seed"), [("memory", 1), ("sqlite", 2), ("redis", 3)], indirect=["world"])
async def test_all_is_done_once_or_dead_whatever_happens(
    world: World, seed: int, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(seed)
    kinds = FAULTS_OF[request.node.callspec.params["world"]]
    faults = [*kinds, *chance.choices(kinds, k=max(0, FAULTS - len(kinds)))]
    chance.shuffle(faults)
    for _ in range(4):
        world.start_member()
    publishing = asyncio.create_task(publish_all(world))
    for fault in faults:
        await asyncio.sleep(chance.uniform(0.05, 0.3))
        await fault(world, chance)
    await publishing
    await until_ready(world.nodes)
    async with asyncio.timeout(3 * HANG_SECONDS):
        while (found := await asyncio.to_thread(settled, world)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    dead = dead_letters(world.nodes[0])
    for member in list(world.members):
        world.kill_member(member)
    world.check_members()
    seen = leases_seen(world)
    for leases in seen.values():
        check_leases(leases)
    # Done, or dead after exactly so many; what was acknowledged without an answer may be either.
    acked = {offset for offset, leases in seen.items() if any("acked" in each.words for each in leases)}
    asked = {offset for offset, leases in seen.items() if any("acking" in each.words for each in leases)}
    everything = set(range(1, PUBLICATIONS + 1))
    assert set(dead.values()) == {MAX_DELIVER}
    assert not dead.keys() & acked
    assert dead.keys() | acked | asked == everything
    assert {each for each in everything if each % KINDS == POISON} <= dead.keys()
    # Counted: every repeat that somebody got, and those of which nobody lived to tell.
    repeats = sum(each.attempt > 1 for leases in seen.values() for each in leases)
    assert found["redelivered"] >= repeats > 0
    assert (found["dead"], found["lost"]) == (len(dead), 0)
    assert (found["in_flight"], found["delayed"], found["parked"], found["members"]) == (0, 0, 0, [])


def where(node: RunningGateway, offset: int, group: str = "g") -> dict[str, Any]:
    status, found = call(node, "GET", f"streams/s/groups/{group}/messages/{offset}")
    assert status == 200, found
    return found  # type: ignore[no-any-return]  # JSON


def shown(node: RunningGateway) -> tuple[dict[str, Any], list[dict[str, Any]], dict[int, int]]:
    """Everything that a node tells of the group, but for what time changes."""
    found = figures(node, "g") | {"oldest_age_ms": None}
    return found, [where(node, offset) for offset in range(1, 9)], dead_letters(node)


PATIENT = STREAMS.replace(f"ack_wait = {ACK_WAIT}", "ack_wait = 60").replace("[0.02, 0.05]", "[60]")


@pytest.mark.parametrize("world", ["sqlite", "redis"], indirect=True)
@pytest.mark.parametrize("settings", [PATIENT])
async def test_every_step_that_was_answered_outlives_who_answered(world: World) -> None:
    """One publication at each step of its life; then the node is killed, and Redis too."""
    node = world.nodes[0]
    await until_ready(world.nodes)
    for number in range(8):
        publish(node, body=number, **{"Gateway-Key": "k" if number >= 6 else f"k{number}"})
    async with consumer(node) as client:
        await client.consume("g", credit=7)
        got = [await client.delivery() for _ in range(7)]
        assert [each["offset"] for each in got] == [1, 2, 3, 4, 5, 6, 7]
        tokens = [[each["delivery"]] for each in got]
        steps: list[tuple[str, int, dict[str, Any]]] = [
            ("ack", 2, {}), ("nack", 3, {}), ("extend", 4, {"by": 90_000}), ("nack", 5, {"dead": True}),
            ("nack", 6, {"dead": True}),
        ]  # fmt: skip
        for op, offset, fields in steps:
            reply = await client.ask(op, deliveries=tokens[offset - 1], **fields)
            assert (reply["op"], reply["stale"]) == ("acked", [])
        await client.consume("g", credit=1)
        path = "streams/s/groups/g/dead-letters/redrive"
        assert call(node, "POST", path, {"filter": "s/a", "dry_run": True})[1] == {"count": 2}
        items = call(node, "GET", "streams/s/groups/g/dead-letters")[1]["items"]
        names = [each["id"] for each in items if each["offset"] == 6]
        assert call(node, "POST", path, {"ids": names})[1] == {"count": 1}
        before = await asyncio.to_thread(shown, node)
        states = [each["state"] for each in before[1]]
        assert states == [
            "leased", "finished", "delayed", "leased", "dead", "waiting", "leased", "parked",
        ]  # fmt: skip
        assert (before[0]["depth"], before[0]["in_flight"], before[0]["parked"]) == (6, 3, 1)
        node.kill()
        if world.redis is not None:
            world.redis.restart()
        await asyncio.to_thread(node.start)
        await until_ready(world.nodes)
    assert await asyncio.to_thread(shown, node) == before
    # All tokens are what they were, at another node too.
    async with consumer(world.nodes[-1]) as client:
        good = [got[0]["delivery"], got[3]["delivery"], got[6]["delivery"]]
        reply = await client.ask("ack", deliveries=[each["delivery"] for each in got])
        assert (reply["deliveries"], len(reply["stale"])) == (good, 4)
        await client.consume("g", credit=9)
        again = [await client.delivery() for _ in range(2)]
        assert [(each["offset"], each["attempt"]) for each in again] == [(6, 1), (8, 1)]
        assert min(each["fence"] for each in again) > max(each["fence"] for each in got)


def snapshot(server: RunningRedis) -> None:
    server.call("SAVE")


@pytest.mark.parametrize("lost", ["the tail", "everything"])
async def test_a_redis_that_lost_something_holds_nobody_up(
    gateway_process: StartGateway, tmp_path: Path, lost: str
) -> None:
    """As after a failover to a server that hadn't heard of all: members go on, and get all that there is."""
    with redis_servers(tmp_path, ()) as (server,):
        # What one member holds comes back when its lease runs out; on a busy machine others' may too.
        streams = STREAMS.replace(f"max_deliver = {MAX_DELIVER}", "max_deliver = 100")
        settings = f'[redis]\nurl = "{server.url}"\n{PATIENT_REDIS}{streams}start = "earliest"\n'
        nodes = [gateway_process(settings) for _ in range(2)]
        await until_ready(nodes)
        async with consumer(nodes[0]) as one, consumer(nodes[1]) as two:
            for member in (one, two):
                await member.consume("g", credit=3)
            for number in range(4):
                publish(nodes[0], body=number, **{"Gateway-Key": f"k{number % 2}"})
            held = [await asyncio.wait_for(each.delivery(), HANG_SECONDS) for each in (one, two)]
            if lost == "the tail":
                snapshot(server)
            await one.ack(held[0])
            publish(nodes[0], body="gone", **{"Gateway-Key": "k0"})
            server.restart()
            await until_ready(nodes)
            offsets = [publish(nodes[number % 2], **{"Gateway-Key": f"k{number % 2}"}) for number in range(6)]
            assert offsets[0] == (5 if lost == "the tail" else 1)
            done: set[int] = set()

            async def work(member: Consumer) -> None:
                while True:
                    got = await member.delivery()
                    if not (await member.ack(got))["stale"]:
                        done.add(got["offset"])

            working = [asyncio.create_task(work(each)) for each in (one, two)]
            await until(lambda: figures(nodes[0], "g")["depth"] == 0 and set(offsets) <= done)
            for task in working:
                task.cancel()
            await asyncio.wait(working)
        found = figures(nodes[1], "g")
        assert (found["in_flight"], found["parked"], found["delayed"], found["dead"]) == (0, 0, 0, 0)
