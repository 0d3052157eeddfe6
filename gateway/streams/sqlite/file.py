"""The database of streams as a file: made, checked, locked, opened; and what its errors mean.

Tables: ``store`` has one row, which says what start of a gateway wrote it last; ``stream`` has what is known
of each log; ``log_N`` holds the publications of the stream with that number, one table each, so that
appending is always at the end of a tree and trimming at its beginning; ``segment_N`` and ``block_N`` are the
index of its topics; ``last_N`` has its last values, where it is to keep them, and ``last_value`` says how far
that has come; ``dedupe`` holds the idempotency keys. Those of groups are in ``groups``.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from gateway.errors import StoreFull, StoreUnusable, StreamUnavailable
from gateway.streams.sqlite.group_rows import GROUP_TABLES, make_groups
from gateway.streams.sqlite.seen import sync_directory
from gateway.streams.sqlite.segments import SEGMENT_OFFSETS, make_index

if TYPE_CHECKING:
    from pathlib import Path

Synchronous = Literal["full", "normal"]
"""``full``: what was answered survives a power cut; ``normal``: a crash of the process."""

APPLICATION_ID = 0x46_61_6E_4F
SCHEMA_VERSION = 3
"""Since 2 the rows of logs bear a seal; since 3 there are an index of topics, last values and groups."""

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE store (token TEXT NOT NULL, segment_offsets INTEGER);
INSERT INTO store VALUES ('', NULL);
CREATE TABLE stream (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    time INTEGER NOT NULL
);
CREATE TABLE dedupe (
    stream INTEGER NOT NULL,
    key BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    id TEXT NOT NULL,
    offset INTEGER NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) WITHOUT ROWID;
CREATE INDEX dedupe_time ON dedupe (stream, time);
CREATE TABLE last_value (stream INTEGER PRIMARY KEY, through INTEGER NOT NULL);
{GROUP_TABLES}
"""  # noqa: S608 - two numbers of this module
_LOG = """
CREATE TABLE log_{} (
    offset INTEGER PRIMARY KEY, time INTEGER NOT NULL, record BLOB NOT NULL, seal INTEGER
)
"""
# What SQLite reports where there is no room: for its data, and for the index of its log.
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
ODD = (TypeError, ValueError)
"""What a damaged database raises besides SQLite's own errors: values, and messages, that are no text."""

_ROOM_BYTES = 256 * 1024
_OPEN_SECONDS = 2.0
_CACHED_STATEMENTS = 1024
_CHECKPOINT_PAGES = 2000
_JOURNAL_BYTES = 64 * 1024 * 1024


def lock(path: Path) -> sqlite3.Connection:
    """Claim the store at ``path`` for this process until the connection is closed, or the process ends.

    The lock is SQLite's own, held on an empty database beside the store: it works wherever the store does.

    Raises:
        StoreUnusable: another process has it, or the file can't be made.
    """
    beside = path.with_name(path.name + "-lock")
    _make(beside)
    connection = sqlite3.connect(beside, timeout=0, isolation_level=None)
    try:
        # Without a file for its journal: a full disk must not keep anybody from reading.
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as exc:
        connection.close()
        if exc.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreUnusable(f"{path}: another process keeps its streams there") from exc
        raise StoreUnusable(f"{beside}: {exc}") from exc
    return connection


def open_to_write(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the database, made if it isn't there; one connection does all writing.

    Raises:
        StoreUnusable: it can't be opened, is no store of streams, or one of another version.
    """
    _make(path)
    # Somebody who looks at the file (a backup, say) may be about to make its log whole after a crash.
    connection = sqlite3.connect(
        path, timeout=_OPEN_SECONDS, isolation_level=None, cached_statements=_CACHED_STATEMENTS
    )
    try:
        _check(connection, path)
        _begin_write_ahead_log(connection, path)
        connection.execute(f"PRAGMA synchronous = {'FULL' if synchronous == 'full' else 'NORMAL'}")
        # Where fsync alone doesn't reach the disk (macOS); elsewhere these say nothing.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
        # Pages that are freed keep what they held until they are used again, or something is purged: to write
        # zeros to each would double the cost of trimming.
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute("PRAGMA busy_timeout = 0")
    except (sqlite3.Error, *ODD) as exc:
        connection.close()
        raise unusable(path, exc) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that is open for writing already; pages are read meanwhile, from snapshots.

    Raises:
        sqlite3.Error: it can't be opened.
    """
    return _connect(f"{path.absolute().as_uri()}?mode=ro")


def open_alone(path: Path) -> sqlite3.Connection:
    """Open a database to read it where nothing can be written; nobody else has it open.

    Held alone, its write-ahead log is read without the index file that SQLite would have to make.

    Raises:
        sqlite3.Error: it can't be opened.
    """
    uri, log = path.absolute().as_uri(), write_ahead_log(path)
    try:
        return _alone(f"{uri}?mode=rw")
    except sqlite3.Error:
        if log.exists() and log.stat().st_size:
            # On a disk that is read-only nothing can be held. The index that a crash left behind will do.
            return _alone(f"{uri}?mode=ro", exclusive=False)
        # Not even an empty log can be made; then what is in the database is all there is.
        return _alone(f"{uri}?mode=ro&immutable=1")


def _alone(uri: str, *, exclusive: bool = True) -> sqlite3.Connection:
    connection = _connect(uri)
    try:
        if exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("SELECT token FROM store").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    # One thread reads; another may close, when it is its turn.
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=1,
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
        check_same_thread=False,
    )


def write_ahead_log(path: Path) -> Path:
    """Where SQLite keeps what is not in the database itself yet."""
    return path.with_name(path.name + "-wal")


def make_log(connection: sqlite3.Connection, number: int) -> None:
    """Make the tables of the stream of that number."""
    connection.execute(_LOG.format(number))
    make_index(connection, number)


def segment_offsets(connection: sqlite3.Connection, wanted: int) -> int:
    """How many offsets a segment of the index has in this file: what was ``wanted`` when it was made."""
    size = _value(connection, "SELECT segment_offsets FROM store")
    if isinstance(size, int) and 0 < size <= SEGMENT_OFFSETS:
        return size
    # Damaged, or never said: segments of another size are found out and made again.
    connection.execute("UPDATE store SET segment_offsets = ?", (wanted,))
    return wanted


def unusable(path: Path, exc: Exception) -> StoreUnusable:
    """The error that the operator is given for what was raised while the database at ``path`` was opened."""
    if isinstance(exc, ODD) or getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT:
        return StoreUnusable(
            f"{path} is damaged where the gateway can't do without it ({exc}): put a copy in its place, or "
            "move it away to begin anew"
        )
    reason = exc.strerror if isinstance(exc, OSError) else exc
    return StoreUnusable(f"{path}: {reason}")


def has_room(path: Path) -> bool:
    """Whether something can be written beside the database, as much as it takes to open it."""
    trial = path.with_name(path.name + "-room")
    try:
        with trial.open("wb") as file:
            file.write(bytes(_ROOM_BYTES))
    except OSError:
        return False
    finally:
        with suppress(OSError):
            trial.unlink()
    return True


def cannot_write(exc: BaseException | None) -> StreamUnavailable | None:
    """What publishers are given where ``exc`` says that nothing can be written; None for other errors."""
    code = getattr(exc, "sqlite_errorcode", 0)
    number = exc.errno if isinstance(exc, OSError) else None
    if code in _FULL or number in _NO_ROOM:
        return StoreFull("the disk of the store of streams is full")
    if code & 0xFF in _UNWRITABLE or number == errno.EROFS:
        return StreamUnavailable(f"nothing can be stored: {exc}")
    return None


def what_failed(exc: Exception) -> StreamUnavailable:
    """The error that publishers and readers are given for one of SQLite's."""
    if isinstance(exc, StreamUnavailable):
        return exc
    if isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", None) in _FULL:
        return StoreFull("the disk of the store of streams is full")
    return StreamUnavailable(f"the store of streams doesn't work: {exc}")


def _make(path: Path) -> None:
    """Make the file and the directories above it; what they hold is nobody else's to read."""
    try:
        missing = [each for each in path.parents if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
        # Never opened where it is there already: closing it would drop the locks that SQLite holds on it for
        # this process (POSIX locks belong to the process and the file, not to whoever opened it).
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as exc:
        raise StoreUnusable(f"{path}: {exc.strerror}") from exc
    if path.is_dir():
        raise StoreUnusable(f"{path}: Is a directory")
    # A power cut must not lose a new directory with everything that was answered in it.
    for each in missing:
        sync_directory(each.parent)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if not _value(connection, "SELECT count(*) FROM sqlite_schema"):
        connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        return
    if _value(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise StoreUnusable(f"{path}: a database, but not one of the gateway's streams")
    version = _value(connection, "PRAGMA user_version")
    if version in {1, 2}:
        _take_up(connection, seals=version == 2)
    elif version != SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path}: streams of format {version}, this version of the gateway reads format {SCHEMA_VERSION}"
        )


def _take_up(connection: sqlite3.Connection, *, seals: bool) -> None:
    """Make of an earlier format today's; no row is touched: SQLite adds columns without, and tables are new.

    The index is filled as its streams are opened, whatever was done of it before.
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ALTER TABLE store ADD COLUMN segment_offsets INTEGER")
    connection.execute("CREATE TABLE last_value (stream INTEGER PRIMARY KEY, through INTEGER NOT NULL)")
    for (number,) in connection.execute("SELECT number FROM stream").fetchall():
        if not seals:
            connection.execute(f"ALTER TABLE log_{number} ADD COLUMN seal INTEGER")
        make_index(connection, number)
    make_groups(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _begin_write_ahead_log(connection: sqlite3.Connection, path: Path) -> None:
    if (mode := _value(connection, "PRAGMA journal_mode = WAL")) != "wal":
        raise StoreUnusable(f"{path}: SQLite's write-ahead log doesn't work there, only {mode!r}")


def _value(connection: sqlite3.Connection, statement: str) -> object:
    (value,) = connection.execute(statement).fetchone()
    return value
