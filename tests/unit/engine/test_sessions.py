from __future__ import annotations

import asyncio

import pytest

from gateway.core.cluster.info import ConnectionInfo
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.sessions import Sessions
from gateway.errors import Unavailable

COUNT = 1000


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Checked:
    """A session that wants to be asked every ten seconds."""

    subject = None

    def __init__(self, name: str) -> None:
        self.id = name
        self.checks: list[float] = []

    def check(self, now: float) -> float:
        self.checks.append(now)
        return now + 10

    def facts(self) -> ConnectionInfo:
        raise NotImplementedError

    def expel(self, code: object, error: object) -> None: ...

    def send_away(self, farewell: object, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...


def register(clock: Clock) -> tuple[Sessions, list[Checked]]:
    sessions = Sessions(limit=COUNT, clock=clock, refusals=Refusals())
    members = [Checked(str(number)) for number in range(COUNT)]
    for each in members:
        sessions.attach(each, check_at=5)
    return sessions, members


async def test_many_sessions_that_are_due_at_once_leave_turns_to_others() -> None:
    clock = Clock()
    sessions, members = register(clock)
    clock.now = 6.5
    checking = asyncio.create_task(sessions.check_due())
    seen = []
    while not checking.done():
        await asyncio.sleep(0)
        seen.append(sum(len(each.checks) for each in members))

    assert seen[-1] == COUNT
    assert len(set(seen)) >= 5

    clock.now = 12
    await sessions.check_due()
    assert all(each.checks == [6.5] for each in members)
    clock.now = 18
    await sessions.check_due()
    assert all(each.checks == [6.5, 18] for each in members)


async def test_a_session_that_ends_meanwhile_is_not_looked_at() -> None:
    clock = Clock()
    sessions, members = register(clock)
    clock.now = 6.5
    checking = asyncio.create_task(sessions.check_due())
    # The first slice is the loop's next turn.
    await asyncio.sleep(0)
    gone = [each for each in members if not each.checks]
    for each in gone:
        sessions.detach(each)
    await checking
    clock.now = 100
    await sessions.check_due()

    assert 0 < len(gone) < COUNT
    assert not any(each.checks for each in gone)
    assert all(each.checks == [6.5, 100] for each in members if each not in gone)


async def test_a_session_that_cannot_be_checked_is_ended_and_the_others_are_checked() -> None:
    clock = Clock()
    sessions, members = register(clock)
    ended: list[str] = []

    def fail(now: float) -> float:
        raise ZeroDivisionError

    members[0].check = fail  # type: ignore[method-assign]
    members[0].abort = lambda: ended.append(members[0].id)  # type: ignore[method-assign]
    clock.now = 6.5
    await sessions.check_due()
    assert ended == ["0"]
    assert all(each.checks == [6.5] for each in members[1:])


def test_requests_take_no_room_of_connections() -> None:
    sessions, members = register(Clock())
    with pytest.raises(Unavailable):
        sessions.check_room()
    sessions.detach(members[0])
    sessions.attach(Checked("request"), check_at=5, request=True)
    sessions.check_room()
    assert sessions.statistics().connections == COUNT - 1
    sessions.detach(sessions.open["request"])
    assert sessions.statistics().requests == 0


def test_nobody_is_told_to_come_back_at_once() -> None:
    sessions = Sessions(limit=COUNT, clock=Clock(), refusals=Refusals())
    few = [sessions.retry_after() for _ in range(200)]
    assert min(few) >= 1000
    assert len(set(few)) > 20


def test_many_are_spread_over_a_longer_time() -> None:
    sessions, _ = register(Clock())
    sessions.open |= {f"more {number}": Checked("") for number in range(4000)}
    assert max(sessions.retry_after() for _ in range(200)) > 3000
