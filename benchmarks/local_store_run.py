"""A store of streams by itself: ``python -m benchmarks.local_store_run KIND SECONDS PUBLISHERS``.

Prints its figures as JSON. Each publisher waits for the answer to its append before it makes the next.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time

import uvloop

from gateway.codecs.record import encode_record
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.memory import MemoryStore
from gateway.streams.sqlite.store import SqliteStore

STREAM = StreamConfiguration("bench", "bench/#")
BODY = b'"' + b"x" * 254 + b'"'
FSYNCS = 50


def message(number: int) -> Publication:
    return Publication("bench/load", f"publication-{number}", 0, BODY)


async def publish(store: SqliteStore | MemoryStore, seconds: float, publishers: int) -> dict[str, float]:
    """Append for a while, then look whether all of it is there."""
    await store.start()
    latencies: list[float] = []
    epoch = (await store.bounds("bench")).epoch
    begin, begin_cpu = perf_counter(), process_time()
    end = begin + seconds

    async def one(number: int) -> None:
        while (sent := perf_counter()) < end:
            await store.append("bench", message(number))
            latencies.append(perf_counter() - sent)

    await asyncio.gather(*(one(number) for number in range(publishers)))
    elapsed, cpu = perf_counter() - begin, process_time() - begin_cpu
    bounds, told = await store.bounds("bench"), store.statistics()
    await store.stop()
    latencies.sort()
    return {
        "appends_per_second": len(latencies) / elapsed,
        "appends_per_commit": told.appended / max(1, told.commits),
        "append_p50": latencies[len(latencies) // 2] * 1000,
        "append_p99": latencies[len(latencies) * 99 // 100] * 1000,
        "cpu_microseconds": cpu / len(latencies) * 1e6,
        "wrong": float(bounds.last != len(latencies) or bounds.epoch != epoch),
    }


def one_commit_each(path: Path, seconds: float) -> dict[str, float]:
    """The same work done plainly: a transaction for each message, as durable."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE log (offset INTEGER PRIMARY KEY, time INTEGER, record BLOB)")
        latencies: list[float] = []
        begin, begin_cpu = perf_counter(), process_time()
        while (sent := perf_counter()) < begin + seconds:
            record = encode_record(message(len(latencies)))
            database.execute("INSERT INTO log VALUES (?, ?, ?)", (len(latencies) + 1, 0, record))
            latencies.append(perf_counter() - sent)
        elapsed, cpu = perf_counter() - begin, process_time() - begin_cpu
    latencies.sort()
    return {
        "appends_per_second": len(latencies) / elapsed,
        "appends_per_commit": 1.0,
        "append_p50": latencies[len(latencies) // 2] * 1000,
        "append_p99": latencies[len(latencies) * 99 // 100] * 1000,
        "cpu_microseconds": cpu / len(latencies) * 1e6,
        "wrong": 0.0,
    }


def fsync_milliseconds(path: Path) -> float:
    """What the disk asks for one fsync of 32 KiB, written over and over."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(opened, bytes(32768), 0)
        os.fsync(opened)
        begin = perf_counter()
        for _ in range(FSYNCS):
            os.pwrite(opened, bytes(32768), 0)
            os.fdatasync(opened)
        return (perf_counter() - begin) / FSYNCS * 1000
    finally:
        os.close(opened)


def main(kind: str, seconds: float, publishers: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        path = directory / "streams.db"
        fsync = {"fsync_milliseconds": fsync_milliseconds(directory / "fsync")}
        match kind:
            case "memory":
                return uvloop.run(publish(MemoryStore([STREAM]), seconds, publishers))
            case "plain":
                return one_commit_each(path, seconds) | fsync
            case "full" | "normal":
                store = SqliteStore(path, [STREAM], synchronous=kind)
                return uvloop.run(publish(store, seconds, publishers)) | fsync
            case _:
                raise ValueError(kind)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))))
