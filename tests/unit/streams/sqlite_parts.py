"""The parts of a SQLite store that run in its threads, for tests that are their only caller."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.codecs.record import encode_record
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.sqlite.append_queue import Waiting
from gateway.streams.sqlite.reading import SqliteReader
from gateway.streams.sqlite.seen import SeenFile
from gateway.streams.sqlite.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.streams.base import Dedupe

STREAM = StreamConfiguration("s", "s/#")
OTHER = StreamConfiguration("o", "o/#")


def message(number: int, size: int = 1) -> Publication:
    return Publication("s/t", f"m{number}", 0, b'"%b"' % (b"x" * size))


def waiting(number: int, *, size: int = 1, stream: str = "s", dedupe: Dedupe | None = None) -> Waiting:
    """An append that nobody awaits."""
    publication = message(number, size)
    nobody: Any = None
    return Waiting(stream, publication, encode_record(publication), dedupe, nobody, 0.0)


def make_writer(
    path: Path,
    *configurations: StreamConfiguration,
    clock: Callable[[], int] = lambda: 1000,
    most_keys: int = 100,
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
