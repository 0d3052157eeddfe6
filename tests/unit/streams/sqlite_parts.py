"""The parts of a SQLite store that run in its threads, for tests that are their only caller."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.codecs.record import encode_record
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.sqlite.append_queue import Waiting
from gateway.streams.sqlite.reading import SqliteReader
from gateway.streams.sqlite.seen import SeenFile
from gateway.streams.sqlite.segments import SEGMENT_OFFSETS
from gateway.streams.sqlite.tail import Tail
from gateway.streams.sqlite.writing import Writer
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.streams.base import Dedupe
    from gateway.streams.sqlite.store import SqliteStore

STREAM = StreamConfiguration("s", "s/#")
OTHER = StreamConfiguration("o", "o/#")


def message(number: int, size: int = 1, topic: str = "s/t") -> Publication:
    return Publication(topic, f"m{number}", 0, b'"%b"' % (b"x" * size))


def waiting(
    number: int, *, size: int = 1, stream: str = "s", topic: str = "s/t", dedupe: Dedupe | None = None
) -> Waiting:
    """An append that nobody awaits."""
    publication = message(number, size, topic)
    nobody: Any = None
    return Waiting(stream, publication, encode_record(publication), dedupe, nobody, 0.0)


def make_writer(
    path: Path,
    *configurations: StreamConfiguration,
    clock: Callable[[], int] = lambda: 1000,
    most_keys: int = 100,
    segment_offsets: int = SEGMENT_OFFSETS,
) -> tuple[Writer, SqliteReader]:
    """The side that writes to the database at ``path``, and the one that reads; nothing is opened yet."""
    reader = SqliteReader(path)
    writer = Writer(
        path,
        configurations or (STREAM,),
        synchronous="normal",
        most_keys=most_keys,
        clock=clock,
        seen=SeenFile(path.with_name(path.name + "-seen")),
        reading=reader,
        tails={each.name: Tail(segment_offsets) for each in configurations or (STREAM,)},
        offsets=segment_offsets,
    )
    return writer, reader


@contextmanager
def opened(
    path: Path, *configurations: StreamConfiguration, **options: Any
) -> Iterator[tuple[Writer, SqliteReader]]:
    writer, reader = make_writer(path, *configurations, **options)
    writer.open({})
    try:
        yield writer, reader
    finally:
        reader.close()
        writer.close(note=True)


async def indexed(store: SqliteStore) -> None:
    """Wait until everything that is complete is in the index of the file."""
    writing = store._writing
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            writing.sweep()
            await writing._run(lambda: None)
            logs = writing._writer._logs
            if not any(
                each.due(logs[name].first, logs[name].last) for name, each in writing._writer._indexes.items()
            ):
                return
            await asyncio.sleep(0)
