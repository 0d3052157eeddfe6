"""What the writing thread knows of a log is what its tables hold, whatever is appended and let go."""

from __future__ import annotations

import sqlite3
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.streams.configuration import Bounds, StreamConfiguration
from gateway.errors import Conflict, RateLimited
from gateway.streams.base import Appended, Dedupe
from gateway.streams.sqlite import file as sqlite_file
from gateway.streams.sqlite.logs import DamagedLog, SqliteLog, load
from tests.unit.streams.sqlite_parts import waiting

if TYPE_CHECKING:
    from gateway.streams.sqlite.append_queue import Waiting

LIMITS = StreamConfiguration("s", "s/#", max_messages=6, max_bytes=400, max_age=5, dedupe_window=3)
KEYS = 8
"""Of which one publisher, alone, may have half."""
PLENTY = 1000
KEY = st.none() | st.sampled_from("abcdef")


def make(limits: StreamConfiguration = LIMITS, most_keys: int = KEYS) -> tuple[sqlite3.Connection, SqliteLog]:
    """A log in memory that nothing was appended to."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(sqlite_file._SCHEMA)
    connection.execute("INSERT INTO stream VALUES (1, 's', 'e', 1, 0, 0, 0)")
    sqlite_file.make_log(connection, 1)
    return connection, load(connection, limits, most_keys)


def value(connection: sqlite3.Connection, statement: str) -> Any:
    return connection.execute(statement).fetchone()[0]


class Model(RuleBasedStateMachine):
    """Appends with and without keys at times that go on, trimmed in steps of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.connection, self.log = make()
        self.count = 0
        self.given: list[tuple[int, int, int]] = []
        self.keys: dict[str, tuple[bytes, Appended, int]] = {}

    def teardown(self) -> None:
        self.connection.close()

    @rule(seconds=st.sampled_from([0, 0, 1, 2, 6]))
    def pass_time(self, seconds: int) -> None:
        self.log.time += seconds * 1000

    @rule(
        batch=st.lists(
            st.tuples(
                st.none() | st.sampled_from("abcdef"), st.sampled_from([b"f", b"g"]), st.integers(1, 90)
            ),
            max_size=8,
        )
    )
    def append(self, batch: list[tuple[str | None, bytes, int]]) -> None:
        appends: list[Waiting] = []
        for key, fingerprint, size in batch:
            self.count += 1
            dedupe = None if key is None else Dedupe(key, fingerprint)
            appends.append(waiting(self.count, size=size, dedupe=dedupe))
        answers = self.log.append(self.connection, appends)
        self.forget_old_keys()
        assert [self.shown(each) for each in answers] == [self.shown(self.expect(each)) for each in appends]

    def forget_old_keys(self) -> None:
        oldest = self.log.time - LIMITS.dedupe_window * 1000
        self.keys = {key: known for key, known in self.keys.items() if known[2] > oldest}

    def expect(self, append: Waiting) -> Appended | Exception:
        last = self.given[-1][0] if self.given else 0
        new = Appended(append.publication.id, last + 1)
        if append.dedupe is not None:
            known = self.keys.get(append.dedupe.key)
            if known is not None and known[0] != append.dedupe.fingerprint:
                return Conflict("")
            if known is not None:
                return replace(known[1], repeated=True)
            if len(self.keys) >= KEYS // 2:
                return RateLimited("")
            self.keys[append.dedupe.key] = append.dedupe.fingerprint, new, self.log.time
        self.given.append((last + 1, len(append.record), self.log.time))
        return new

    @staticmethod
    def shown(answer: Appended | Exception) -> object:
        return type(answer) if isinstance(answer, Exception) else answer

    @rule(most=st.integers(1, 4))
    def trim_all(self, most: int) -> None:
        now = self.log.time
        kept = [each for each in self.given if each[0] >= self.log.first]
        while kept and (
            now - kept[0][2] > LIMITS.max_age * 1000
            or (len(kept) > 1 and len(kept) > LIMITS.max_messages)
            or (len(kept) > 1 and sum(size for _, size, _ in kept) > LIMITS.max_bytes)
        ):
            del kept[0]
        for _ in range(1000):
            if not self.log.trim(self.connection, most):
                break
        self.forget_old_keys()
        assert self.log.first == (kept[0][0] if kept else self.log.last + 1)
        assert self.log.keys == len(self.keys)
        assert not self.log.too_much(now)

    @rule()
    def load_again(self) -> None:
        self.log.save(self.connection)
        again = load(self.connection, LIMITS, KEYS)
        assert replace(again, shares=self.log.shares) == self.log
        # Keys count for who holds them as before.
        self.log = again

    @invariant()
    def what_is_known_is_what_is_there(self) -> None:
        log, connection = self.log, self.connection
        assert log.bounds == Bounds("e", log.first, self.given[-1][0] if self.given else 0)
        rows = connection.execute("SELECT offset, length(record), time FROM log_1 ORDER BY offset").fetchall()
        assert rows == [each for each in self.given if each[0] >= log.first]
        assert log.bytes == sum(size for _, size, _ in rows)
        assert log.oldest == (rows[0][2] if rows else None)
        assert log.keys == value(connection, "SELECT count(*) FROM dedupe") <= KEYS
        assert log.oldest_key == value(connection, "SELECT min(time) FROM dedupe")


TestLogs = Model.TestCase
TestLogs.settings = settings(max_examples=60, stateful_step_count=25)


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        pytest.param({"max_messages": 3}, [8, 9, 10], id="no more than may be kept"),
        pytest.param({"max_bytes": 1}, [10], id="the newest stays, however large"),
        pytest.param({"max_age": 1}, [], id="what is too old goes, the newest too"),
        pytest.param({}, list(range(1, 11)), id="nothing goes that may stay"),
    ],
)
def test_what_is_let_go_is_the_oldest_and_no_more_than_must(limits: dict[str, Any], left: list[int]) -> None:
    connection, log = make(replace(StreamConfiguration("s", "s/#"), **limits))
    log.append(connection, [waiting(number) for number in range(10)])
    log.time = 2000
    assert not log.trim(connection, PLENTY)
    assert [offset for (offset,) in connection.execute("SELECT offset FROM log_1")] == left
    connection.close()


def test_a_step_lets_go_of_no_more_than_it_may_and_says_that_there_is_more() -> None:
    connection, log = make(StreamConfiguration("s", "s/#", max_messages=2))
    log.append(connection, [waiting(number) for number in range(10)])
    assert [log.trim(connection, 3) for _ in range(3)] == [True, True, False]
    assert log.bounds == Bounds("e", 9, 10)
    connection.close()


def test_a_transaction_on_a_copy_leaves_the_log_as_it_was() -> None:
    connection, log = make()
    log.append(connection, [waiting(1)])
    before, tried = copy(log), copy(log)
    tried.append(connection, [waiting(2), waiting(3)])
    assert log == before != tried
    connection.close()


def test_missing_rows_weigh_nothing_and_are_let_go_with_the_others() -> None:
    connection, log = make(StreamConfiguration("s", "s/#", max_messages=4))
    log.append(connection, [waiting(number) for number in range(10)])
    connection.execute("DELETE FROM log_1 WHERE offset IN (1, 2, 3, 7)")
    while log.trim(connection, 2):
        pass
    assert log.bounds == Bounds("e", 7, 10)
    assert [offset for (offset,) in connection.execute("SELECT offset FROM log_1")] == [8, 9, 10]
    connection.close()


def test_a_damaged_time_is_as_old_as_can_be() -> None:
    connection, log = make()
    log.append(connection, [waiting(1), waiting(2)])
    log.save(connection)
    connection.execute("UPDATE log_1 SET time = x'ff' WHERE offset = 1")
    assert load(connection, LIMITS, KEYS).oldest == 0
    connection.close()


class Damaged:
    """A database of which one table can't be read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        if "log_1" in statement:
            error = sqlite3.DatabaseError("malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        return self.connection.execute(statement, *arguments)


def test_a_log_whose_oldest_part_is_damaged_grows_and_lets_go_of_keys_alone() -> None:
    connection, log = make(replace(LIMITS, max_messages=1))
    log.append(connection, [waiting(number, dedupe=Dedupe(f"k{number}", b"f")) for number in range(3)])
    log.save(connection)
    damaged: Any = Damaged(connection)
    with pytest.raises(DamagedLog, match="s"):
        log.trim(damaged, PLENTY)
    for each in (log, load(damaged, LIMITS, KEYS)):
        each.tell_damage()
        assert not each.too_much(each.time)
        assert each.too_much(10_000)
        assert not each.trim(damaged, PLENTY)
        assert each.bounds == Bounds("e", 1, 3)
    log.time = 10_000
    assert not log.trim(damaged, PLENTY)
    assert (log.keys, value(connection, "SELECT count(*) FROM dedupe")) == (0, 0)
    connection.close()


def test_what_is_wrong_but_no_damage_is_raised_as_it_is() -> None:
    connection, log = make(replace(LIMITS, max_messages=1))
    log.append(connection, [waiting(1), waiting(2)])
    connection.execute("DROP TABLE log_1")
    with pytest.raises(sqlite3.OperationalError):
        log.trim(connection, PLENTY)
    connection.close()
