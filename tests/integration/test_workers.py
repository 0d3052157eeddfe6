"""Several workers are one gateway: real processes on one port, and what becomes of them.

Spec: docs/operations.md, "Workers".
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from anyio import to_thread
from websockets.asyncio.client import ClientConnection, connect

from gateway.client import Backoff, Client, Message
from tests.patience import HANG_SECONDS

from .conftest import READY_SECONDS
from .process_tree import children, command_line, is_running, wait_for, wait_until_gone

if TYPE_CHECKING:
    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis

SETTINGS = '[server]\nworkers = 2\ndrain_seconds = 5\nhang_timeout = "5s"\n'
MOST_CONNECTIONS = 100  # that all of them meet the same one of two workers is as good as impossible


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    """Two workers and a private Redis; for tests that leave three processes behind."""
    return module_gateway_process(SETTINGS)


def redis_processes(gateway: RunningGateway) -> list[int]:
    return [pid for pid in children(gateway.pid) if "redis.sock" in command_line(pid)]


def private_redis(gateway: RunningGateway) -> int:
    (pid,) = redis_processes(gateway)
    return pid


def workers(gateway: RunningGateway) -> list[int]:
    return [pid for pid in children(gateway.pid) if "redis.sock" not in command_line(pid)]


def private_directory(gateway: RunningGateway) -> Path:
    match = re.search(r"unixsocket:(\S+)", command_line(private_redis(gateway)))
    assert match is not None
    return Path(match[1]).parent


async def one_client_per_worker(
    stack: AsyncExitStack, gateway: RunningGateway, *, count: int = 2
) -> dict[str, ClientConnection]:
    """Connect until so many nodes have been met; one connection to each is kept."""
    clients: dict[str, ClientConnection] = {}
    for _ in range(MOST_CONNECTIONS):
        websocket = await connect(gateway.ws_url)
        node = json.loads(await websocket.recv())["node"]
        if node in clients:
            await websocket.close()
            continue
        clients[node] = await stack.enter_async_context(websocket)
        if len(clients) == count:
            return clients
    pytest.fail(f"{MOST_CONNECTIONS} connections met {len(clients)} workers")


async def ask(websocket: ClientConnection, **command: Any) -> dict[str, Any]:
    await websocket.send(json.dumps(command | {"ref": 1}))
    with anyio.fail_after(HANG_SECONDS):
        reply: dict[str, Any] = json.loads(await websocket.recv())
    assert reply.get("ref") == 1, reply
    return reply


async def subscribed(websocket: ClientConnection, topic_filter: str) -> None:
    """Subscribe; again while the bus is away."""
    with anyio.fail_after(HANG_SECONDS):
        while (await ask(websocket, op="subscribe", filter=topic_filter))["op"] != "subscribed":
            await anyio.lowlevel.checkpoint()


async def test_two_workers_share_a_port_and_every_message(gateway: RunningGateway) -> None:
    async with AsyncExitStack() as stack:
        clients = await one_client_per_worker(stack, gateway)
        for websocket in clients.values():
            await subscribed(websocket, "shared/#")
        for publisher in clients.values():
            reply = await ask_to_publish(publisher, "shared/x")
            for websocket in clients.values():
                if websocket is not publisher:
                    assert json.loads(await websocket.recv())["id"] == reply


async def ask_to_publish(websocket: ClientConnection, topic: str) -> str:
    """Publish, read the reply and the own copy in whatever order; return the id."""
    await websocket.send(json.dumps({"op": "publish", "topic": topic, "data": 1, "ref": 2}))
    frames = [json.loads(await websocket.recv()) for _ in range(2)]
    assert {each["op"] for each in frames} == {"published", "message"}
    assert frames[0]["id"] == frames[1]["id"]
    return str(frames[0]["id"])


def test_metrics_say_which_worker_they_are_of(gateway: RunningGateway) -> None:
    seen: set[str] = set()
    for _ in range(MOST_CONNECTIONS):
        page = httpx2.get(f"{gateway.url}/metrics").text
        samples = [line for line in page.splitlines() if not line.startswith("#")]
        labels = {match[1] for line in samples if (match := re.search(r'[{,]worker="(\d+)"', line))}
        assert len(labels) == 1
        assert all("worker=" in line for line in samples)
        seen |= labels
        if seen == {"1", "2"}:
            return
    pytest.fail(f"{MOST_CONNECTIONS} requests met workers {seen}")


async def test_killed_workers_are_replaced_and_their_clients_come_back(gateway: RunningGateway) -> None:
    quick = Backoff(first_seconds=0.01, limit_seconds=0.1)
    async with AsyncExitStack() as stack:
        library = [await stack.enter_async_context(Client(gateway.url, backoff=quick)) for _ in range(4)]
        watching = [await stack.enter_async_context(each.subscribe("back/#")) for each in library]
        before = await one_client_per_worker(stack, gateway)
        for victim in workers(gateway):
            os.kill(victim, signal.SIGKILL)
            await to_thread.run_sync(replaced, gateway, victim)
        with anyio.fail_after(HANG_SECONDS):
            for subscription in watching:
                await next_message(subscription, gateway)
        assert all(each.statistics().connects >= 2 for each in library)
        after = await one_client_per_worker(stack, gateway)
    assert not before.keys() & after.keys()
    for number in "12":
        page = await metrics_of(gateway, number)
        assert f'gateway_worker_restarts_total{{worker="{number}"}} 1.0' in page


def replaced(gateway: RunningGateway, victim: int) -> None:
    """Wait until there are two workers again, and both listen."""
    wait_for(lambda: len(set(workers(gateway)) - {victim}) == 2, seconds=READY_SECONDS)
    wait_for(lambda: listening(gateway.port) == 2, seconds=READY_SECONDS)


def listening(port: int) -> int:
    """How many sockets listen on ``port`` of loopback."""
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    return sum(fields[1] == f"0100007F:{port:04X}" and fields[3] == "0A" for fields in map(str.split, lines))


async def next_message(subscription: Any, gateway: RunningGateway) -> None:
    """Publish until the subscription has one: its client may only be on its way back."""

    async def publish_on() -> None:
        async with httpx2.AsyncClient() as http:
            while True:
                await http.post(f"{gateway.url}/v1/topics/back/x", content=b"again")
                await asyncio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish_on)
        async for each in subscription:
            if isinstance(each, Message):
                tasks.cancel_scope.cancel()
                return


async def metrics_of(gateway: RunningGateway, worker: str) -> str:
    async with httpx2.AsyncClient() as http:
        for _ in range(MOST_CONNECTIONS):
            page = (await http.get(f"{gateway.url}/metrics", headers={"connection": "close"})).text
            if f'worker="{worker}"' in page:
                return page
    pytest.fail(f"worker {worker} was not met")


async def test_a_worker_that_hangs_is_replaced(gateway: RunningGateway) -> None:
    """Until then it keeps its share of the port's connections, and answers none."""
    async with AsyncExitStack() as stack:
        clients = await one_client_per_worker(stack, gateway)
        victim = workers(gateway)[0]
        os.kill(victim, signal.SIGSTOP)
        await to_thread.run_sync(replaced, gateway, victim)
        # One of the two has lost its client, and the other one goes on.
        after = await one_client_per_worker(stack, gateway)
        assert len(clients.keys() & after.keys()) == 1
    hangs = [await metrics_of(gateway, number) for number in "12"]
    assert sum(re.search(r"gateway_worker_hangs_total\S* 1\.0", page) is not None for page in hangs) == 1
    assert f"(process {victim}) gave no sign of life for 5 s and is killed" in gateway.output()


async def test_the_private_redis_is_replaced_too(gateway: RunningGateway) -> None:
    async with AsyncExitStack() as stack:
        clients = list((await one_client_per_worker(stack, gateway)).values())
        await subscribed(clients[0], "again/#")
        before = private_redis(gateway)
        os.kill(before, signal.SIGKILL)
        await to_thread.run_sync(wait_for, lambda: any(pid != before for pid in redis_processes(gateway)))
        heard = False
        with anyio.fail_after(HANG_SECONDS):
            while not heard:
                # The worker that takes it may be back before the client's listens again: then it is a gap.
                await to_thread.run_sync(publishes, gateway)
                with anyio.move_on_after(0.2):
                    while json.loads(await clients[0].recv())["op"] != "message":
                        pass
                    heard = True


def publishes(gateway: RunningGateway) -> bool:
    return httpx2.post(f"{gateway.url}/v1/topics/again/x", content=b"1").status_code == 202


def test_the_private_redis_is_for_this_user_alone(gateway: RunningGateway) -> None:
    directory = private_directory(gateway)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "redis.sock").stat().st_mode & 0o077 == 0
    inodes = {
        os.readlink(each)
        for each in Path(f"/proc/{private_redis(gateway)}/fd").iterdir()
        if os.path.islink(each)
    }
    listening = [
        fields[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]
        if (fields := line.split())[3] == "0A"
    ]
    assert not any(f"socket:[{inode}]" in inodes for inode in listening)


def test_a_second_gateway_does_not_take_half_of_the_clients(gateway: RunningGateway, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(gateway.port), "--workers", "2"]
    second = subprocess.run(
        command, capture_output=True, text=True, timeout=READY_SECONDS, check=False, cwd=tmp_path
    )
    assert second.returncode == 1
    assert "can't listen on 127.0.0.1" in second.stderr


def test_sigterm_ends_all_of_it(gateway_process: StartGateway) -> None:
    gateway = gateway_process(SETTINGS)
    family, directory = children(gateway.pid), private_directory(gateway)
    assert len(family) == 3
    gateway.stop()
    assert not any(map(is_running, family))
    assert not directory.exists()


async def test_sigterm_to_all_processes_at_once_drains_too(gateway_process: StartGateway) -> None:
    """As systemd sends it: the private Redis is there until the last publish is answered."""
    gateway = gateway_process(SETTINGS)
    family, redis = children(gateway.pid), private_redis(gateway)
    async with AsyncExitStack() as stack:
        clients = (await one_client_per_worker(stack, gateway)).values()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.kill(redis, number)
            assert leaves_pending(redis, number)
        for websocket in clients:
            # It needs the private server to be answered.
            assert (await ask(websocket, op="publish", topic="x", data=1))["op"] == "published"
        for pid in (redis, *family, gateway.pid):
            os.kill(pid, signal.SIGTERM)
        for websocket in clients:
            with anyio.fail_after(HANG_SECONDS):
                assert [json.loads(each)["op"] async for each in websocket] == ["goaway"]
    assert await to_thread.run_sync(gateway.wait) == 0
    assert "private Redis" not in gateway.output()
    assert not any(map(is_running, family))


def leaves_pending(pid: int, number: signal.Signals) -> bool:
    """Whether the kernel keeps a signal from the process, which has been sent one."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    pending = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    assert pending is not None
    return bool(int(pending[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_drops_nobody(gateway_process: StartGateway, workers: int) -> None:
    gateway = gateway_process(f"server.workers = {workers}\n")
    async with AsyncExitStack() as stack:
        clients = (await one_client_per_worker(stack, gateway, count=workers)).values()
        for seen in (1, 2):
            gateway.process.send_signal(signal.SIGHUP)
            await to_thread.run_sync(
                wait_for, lambda seen=seen: gateway.output().count("SIGHUP: ") == seen * workers
            )
        for websocket in clients:
            assert (await ask(websocket, op="ping"))["op"] == "pong"
        gateway.process.send_signal(signal.SIGHUP)
        gateway.terminate()
        gateway.process.send_signal(signal.SIGHUP)
        for websocket in clients:
            with anyio.fail_after(HANG_SECONDS):
                assert [json.loads(each)["op"] async for each in websocket] == ["goaway"]
    assert await to_thread.run_sync(gateway.wait) == 0


async def test_a_worker_that_is_started_again_has_what_the_others_took_up(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    """A mask that was taken up isn't taken off again, nor a group's settings put back, by whoever begins."""

    def settings(number: int) -> str:
        return f"""{SETTINGS}
[redis]
url = "{redis_server.url}"
[console]
mask = ["$.secret{number}"]
[[streams]]
name = "jobs"
filter = "jobs/#"
[[streams.groups]]
name = "work"
max_deliver = {number}
"""

    def write(text: str) -> None:
        (gateway.directory / "gateway.toml").write_text(text, "utf-8")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)

    def masks() -> set[str]:
        # A connection for each question, so that both workers are asked.
        told = [httpx2.get(f"{gateway.url}/v1/console").json() for _ in range(MOST_CONNECTIONS // 3)]
        assert len({each["node"] for each in told}) == len(workers(gateway))
        return {mask for each in told for mask in each["mask"]}

    def max_deliver() -> int:
        group = httpx2.get(f"{gateway.url}/v1/streams/jobs/groups/work").json()
        return int(group["settings"]["max_deliver"])

    gateway = gateway_process(settings(1))
    await to_thread.run_sync(wait_for, lambda: gateway.output().count("gateway ready") == 2)
    write(settings(2))
    await to_thread.run_sync(wait_for, lambda: gateway.output().count("taken up console.mask") == 2)
    first, other = workers(gateway)
    os.kill(first, signal.SIGKILL)
    await to_thread.run_sync(
        wait_for, lambda: len({other, *workers(gateway)}) == 2 and first not in workers(gateway)
    )
    # Just born, it has no ear for a signal yet; it hears of this one all the same.
    write(settings(3))
    await to_thread.run_sync(wait_for, lambda: gateway.output().count("SIGHUP: settings read again") == 4)
    assert masks() == {"$.secret3"}
    assert max_deliver() == 3
    # A file that is wrong by now changes nothing for who begins.
    write("nonsense")
    await to_thread.run_sync(wait_for, lambda: gateway.output().count("SIGHUP: the settings are wrong") == 2)
    ready = gateway.output().count("gateway ready")
    os.kill(other, signal.SIGKILL)
    await to_thread.run_sync(wait_for, lambda: gateway.output().count("gateway ready") > ready)
    assert masks() == {"$.secret3"}
    assert max_deliver() == 3


async def test_ctrl_c_says_goodbye_to_the_clients_of_every_worker(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    """With a Redis of one's own there is no private one."""
    gateway = gateway_process(SETTINGS + f'[redis]\nurl = "{redis_server.url}"\n')
    family = children(gateway.pid)
    assert len(family) == 2
    async with AsyncExitStack() as stack:
        clients = await one_client_per_worker(stack, gateway)
        for websocket in clients.values():
            await subscribed(websocket, "both/#")
        publisher, other = clients.values()
        published = await ask_to_publish(publisher, "both/x")
        assert json.loads(await other.recv())["id"] == published
        gateway.process.send_signal(signal.SIGINT)
        for websocket in clients.values():
            with anyio.fail_after(HANG_SECONDS):
                assert [json.loads(each)["op"] async for each in websocket] == ["goaway"]
            assert websocket.close_code == 1001
    assert await to_thread.run_sync(gateway.wait) == 0
    assert not any(map(is_running, family))


async def test_nothing_outlives_the_first_process(gateway_process: StartGateway) -> None:
    gateway = gateway_process(SETTINGS)
    family, directory = children(gateway.pid), private_directory(gateway)
    async with connect(gateway.ws_url) as websocket:
        assert json.loads(await websocket.recv())["op"] == "welcome"
        gateway.kill()
        with anyio.fail_after(HANG_SECONDS):
            assert json.loads(await websocket.recv())["op"] == "goaway"
    await to_thread.run_sync(wait_until_gone, family)
    assert not directory.exists()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", gateway.port)):
        pass
