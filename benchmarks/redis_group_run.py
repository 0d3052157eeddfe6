"""``python -m benchmarks.redis_group_run PORT MEMBERS COUNT HOW``: a work queue by redis-py alone.

Each member is a thread with a connection of its own that asks for 100 messages (XREADGROUP), and acknowledges
them (XACK) one after the other, or all together. Prints its figures as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import redis

from benchmarks.load.members import CREDIT, GROUP, STREAM
from benchmarks.payload import Payloads

SIZE = 256
TOGETHER = "together"
STORED_TOGETHER = 1_000


def fill(client: redis.Redis, count: int) -> None:
    payloads = Payloads(SIZE)
    client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    while payloads.sent < count:
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(min(STORED_TOGETHER, count - payloads.sent)):
                pipeline.xadd(STREAM, {"r": payloads.make()})
            pipeline.execute()


def work(port: int, name: str, *, together: bool) -> None:
    client = redis.Redis(port=port)
    while found := client.xreadgroup(GROUP, name, {STREAM: ">"}, count=CREDIT):
        messages = found[STREAM.encode()][0] if isinstance(found, dict) else found[0][1]
        names = [each[0] for each in messages]
        if together:
            client.xack(STREAM, GROUP, *names)
        else:
            for each in names:
                client.xack(STREAM, GROUP, each)


def cpu(client: redis.Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def main(port: int, members: int, count: int, *, together: bool) -> dict[str, float]:
    """Have ``members`` work ``count`` messages off."""
    client = redis.Redis(port=port)
    began, spent = time.monotonic(), cpu(client) + time.process_time()
    fill(client, count)
    stored, stored_cpu = time.monotonic() - began, cpu(client) + time.process_time() - spent
    threads = [
        threading.Thread(target=work, args=(port, f"member-{number}"), kwargs={"together": together})
        for number in range(members)
    ]
    began, redis_cpu, own = time.monotonic(), cpu(client), time.process_time()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    passed = time.monotonic() - began
    redis_cpu, own = cpu(client) - redis_cpu, time.process_time() - own
    (told,) = client.xinfo_groups(STREAM)
    return {
        "acknowledged_per_cpu_second": count / (redis_cpu + own),
        "acknowledged_per_second": count / passed,
        "stored_per_cpu_second": count / stored_cpu,
        "stored_per_second": count / stored,
        "node_microseconds": own / count * 1e6,
        "redis_microseconds": redis_cpu / count * 1e6,
        "server_cpu": (redis_cpu + own) / passed * 100,
        "left": told["pending"] + count - told["entries-read"],
    }


if __name__ == "__main__":
    _, port, members, count, how = sys.argv
    print(json.dumps(main(int(port), int(members), int(count), together=how == TOGETHER)))
