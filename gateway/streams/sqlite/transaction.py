"""What a transaction of a SQLite store is asked, and what it tells."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import GatewayError, StreamUnavailable
from gateway.streams.base import Appended
from gateway.streams.sqlite.rows import is_damage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.messages.publication import Publication
    from gateway.streams.groups.journal import Trimmed
    from gateway.streams.groups.local import LocalGroups
    from gateway.streams.sqlite.append_queue import Waiting

Job = Callable[[sqlite3.Connection], object]
"""A part of a transaction: it changes other tables than those of logs, and may be done again."""


class Committed(NamedTuple):
    """What a transaction did.

    Attributes:
        answers: one for each append, in order.
        times: by stream, the time that its new publications bear (ms since 1970).
        firsts: by stream, the oldest offset kept, for streams that were touched.
        more: there is more to be let go, or to be indexed, than one transaction should.
        evicted: how many last values went, since there were too many.
        done: one result for each job.
        trimmed: by stream, what was let go that a group may not have finished.
    """

    answers: Sequence[Appended | Exception]
    times: Mapping[str, int]
    firsts: Mapping[str, int]
    more: bool
    evicted: int = 0
    done: Sequence[object] = ()
    trimmed: Mapping[str, Sequence[Trimmed]] = MappingProxyType({})


class Retention(NamedTuple):
    """What groups let go of a log.

    Attributes:
        keep_from: the first offset that must stay, or None.
        watched: what has a larger offset may be unfinished by a group, or None where there is no group.
    """

    keep_from: int | None
    watched: int | None


class DamagedJob(Exception):  # noqa: N818 - says what it is
    """What a job reads or changes is damaged."""

    def __init__(self, job: Job) -> None:
        self.job = job


NO_RETENTION: Final[Mapping[str, Retention]] = MappingProxyType({})


def retention_of(groups: LocalGroups | None, logs: Iterable[str]) -> Mapping[str, Retention]:
    """What ``groups`` let go of each of ``logs``."""
    if groups is None:
        return NO_RETENTION
    return {name: Retention(groups.kept_from(name), groups.floor(name)) for name in logs}


def kept_of(batch: Sequence[Waiting], committed: Committed) -> dict[str, tuple[list[Publication], list[int]]]:
    """By stream, the publications that were kept, which know it from now on, and their sizes."""
    kept: dict[str, tuple[list[Publication], list[int]]] = {name: ([], []) for name in committed.firsts}
    # Not before COMMIT: until then an offset could yet be given to another publication.
    for waiting, answer in zip(batch, committed.answers, strict=True):
        if isinstance(answer, Appended) and not answer.repeated:
            publication = waiting.publication
            publication.stream = waiting.stream
            publication.offset = answer.offset
            publication.time = committed.times[waiting.stream]
            publications, sizes = kept[waiting.stream]
            publications.append(publication)
            sizes.append(len(waiting.record))
    return kept


def run_job(job: Job, connection: sqlite3.Connection) -> object:
    """Its result, or the error that is its own."""
    try:
        return job(connection)
    except GatewayError as refused:
        return refused
    except (sqlite3.Error, ValueError) as error:
        if is_damage(error):
            raise DamagedJob(job) from error
        raise


def refuse_job(error: StreamUnavailable) -> Job:
    """A job that comes to ``error``."""
    return lambda _connection: error
