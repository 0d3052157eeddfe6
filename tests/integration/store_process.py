"""A process with a store that a test may kill or starve: ``python -m tests.integration.store_process …``."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import StoreFull, StreamUnavailable
from gateway.streams.limits import StoreLimits
from gateway.streams.sqlite.store import SqliteStore
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = StreamConfiguration("s", "s/#")
LIMITS = StoreLimits(sweep_seconds=0.05, recent_messages=100, timeout=HANG_SECONDS)


def message(name: str, size: int = 200) -> Publication:
    return Publication("s/t", name, 0, b'"%b"' % (b"x" * size))


async def publish(path: str, run: str, count: int, publishers: int, *, stays: bool = False) -> None:
    """Append, and say on standard output what was answered, a line each.

    Who ``stays`` has to be killed: its store is never stopped.
    """
    store = SqliteStore(path, [STREAM], limits=StoreLimits(timeout=HANG_SECONDS))
    await store.start()
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            answer = await store.append("s", message(f"{run}-{number}"))
            os.write(1, f"{answer.offset} {answer.id}\n".encode())

    await asyncio.gather(*(one() for _ in range(publishers)))
    if stays:
        await asyncio.Event().wait()
    await store.stop()


async def room(directory: str, pages: int) -> dict[str, Any]:
    """Append until there is no room, make some, and go on; ``pages`` stand for a disk, unless 0."""
    path = Path(directory) / "streams.db"
    ballast = Path(directory) / "ballast"
    store = SqliteStore(path, [STREAM], limits=LIMITS)
    await store.start()
    if pages:
        await allow(store, pages)
    else:
        ballast.write_bytes(b"x" * 1_500_000)

    async def make_room() -> None:
        if pages:
            await allow(store, pages * 4)
        else:
            ballast.unlink()

    return await starve(store, path, StoreFull, make_room)


async def limit(directory: str) -> dict[str, Any]:
    """The same where the system lets no file grow: an error of the disk like any other."""
    path = Path(directory) / "streams.db"
    store = SqliteStore(path, [STREAM], limits=LIMITS)
    await store.start()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, most))

    async def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return await starve(store, path, StreamUnavailable, make_room)


async def starve(
    store: SqliteStore, path: Path, error: type[StreamUnavailable], make_room: Callable[[], Any]
) -> dict[str, Any]:
    answered: dict[int, str] = {}
    begin = await store.bounds("s")

    async def append(name: str) -> None:
        answer = await store.append("s", message(name, 1900))
        assert answer.offset not in answered
        answered[answer.offset] = name

    async def fill() -> list[str]:
        errors: list[str] = []
        while not errors:
            appends = (append(f"{len(answered)}-{number}") for number in range(10))
            errors = [
                type(each).__name__ for each in await asyncio.gather(*appends, return_exceptions=True) if each
            ]
        return errors

    async with asyncio.timeout(3 * HANG_SECONDS):
        errors = await fill()
    starved = {"errors": sorted(set(errors)), "connected": store.statistics().connected}
    starved["readable"] = await kept(store) == answered
    starved["answered"] = len(answered)
    await make_room()
    async with asyncio.timeout(HANG_SECONDS):
        while not store.statistics().connected:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        for number in range(20):
            await append(f"again-{number}")
    same = (await store.bounds("s")).epoch == begin.epoch
    told = await kept(store) == answered
    await store.stop()
    again = SqliteStore(path, [STREAM], limits=LIMITS)
    await again.start()
    afterwards = await kept(again) == answered and (await again.bounds("s")).epoch == begin.epoch
    await again.stop()
    assert error.__name__ in starved["errors"]
    return {**starved, "same epoch": same, "complete": told, "complete afterwards": afterwards}


async def churn(directory: str) -> dict[str, Any]:
    """Append more than the disk holds to a stream that keeps little."""
    stream = StreamConfiguration("s", "s/#", max_messages=50)
    store = SqliteStore(Path(directory) / "churn.db", [stream], limits=LIMITS)
    await store.start()
    kept_all = full = 0
    for number in range(1000):
        appends = (store.append("s", message(f"{number}-{each}", 2000)) for each in range(10))
        for answer in await asyncio.gather(*appends, return_exceptions=True):
            kept_all += not isinstance(answer, BaseException)
            full += isinstance(answer, StoreFull)
    bounds = await store.bounds("s")
    await store.stop()
    return {"kept": kept_all, "full": full, "first": bounds.first, "last": bounds.last}


async def restart(directory: str, full: str) -> dict[str, Any]:
    """Start on a disk that has become full since, after a stop and after a crash, and have it made room."""
    path = Path(directory) / "streams.db"
    first = SqliteStore(path, [STREAM], limits=LIMITS)
    await first.start()
    for number in range(200):
        await first.append("s", message(f"{number}"))
    epoch = (await first.bounds("s")).epoch
    await first.stop()
    told = {"after a stop": await start_without_room(path, full)}
    await asyncio.to_thread(crash, path)
    path.with_name("streams.db-shm").unlink()
    told["after a crash"] = await start_without_room(path, full)
    again = SqliteStore(path, [STREAM], limits=LIMITS)
    await again.start()
    told["same epoch"] = (await again.bounds("s")).epoch == epoch
    told["kept"] = len(await kept(again)) >= 502
    await again.stop()
    return told


def crash(path: Path) -> None:
    """Have another process append to the store, and kill it once 300 are answered."""
    mode = "publish-and-stay"
    command = [sys.executable, "-m", "tests.integration.store_process", mode, str(path), "b", "300", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(300):
            process.stdout.readline()
        process.kill()


async def start_without_room(path: Path, full: str) -> dict[str, Any]:
    ballast = path.with_name("ballast")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if full == "disk":
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 512):
                pass
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    store = SqliteStore(path, [STREAM, StreamConfiguration("new", "new/#")], limits=LIMITS)
    await store.start()
    before = await kept(store)
    refused: set[str] = set()
    for _ in range(3):
        try:
            await store.append("s", message("no"))
        except StreamUnavailable as error:
            refused.add(type(error).__name__)
    connected = store.statistics().connected
    same = await kept(store) == before
    if full == "disk":
        ballast.unlink()
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    async with asyncio.timeout(HANG_SECONDS):
        while not store.statistics().connected:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    answer = await store.append("s", message("again"))
    assert (await store.append("new", Publication("new/a", "new", 0, b"1"))).offset >= 1
    complete = await kept(store) == before | {answer.offset: "again"}
    await store.stop()
    return {
        "refused": sorted(refused),
        "connected": connected,
        "readable": bool(before) and same,
        "complete": complete,
    }


async def allow(store: SqliteStore, pages: int) -> None:
    writing = store._writing
    connection = writing._writer._connection
    assert connection is not None
    assert writing._worker is not None
    await writing._worker.run(lambda: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())


async def kept(store: SqliteStore) -> dict[int, str]:
    """Everything in the log, by offset."""
    found: dict[int, str] = {}
    after = 0
    while (page := await store.read("s", after, messages=1000)).publications:
        found |= {each.offset or 0: each.id for each in page.publications}
        after = page.publications[-1].offset or 0
    assert list(found) == list(range(1, len(found) + 1)), "offsets are not consecutive"
    return found


def main(mode: str, *arguments: str) -> None:
    if mode in {"publish", "publish-and-stay"}:
        path, run, count, publishers = arguments
        asyncio.run(publish(path, run, int(count), int(publishers), stays=mode != "publish"))
    elif mode == "room":
        print(json.dumps(asyncio.run(room(arguments[0], int(arguments[1])))))
    elif mode == "churn":
        print(json.dumps(asyncio.run(churn(arguments[0]))))
    elif mode == "restart":
        print(json.dumps(asyncio.run(restart(*arguments))))
    else:
        print(json.dumps(asyncio.run(limit(arguments[0]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
