"""What is remembered of an application's answers, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from gateway.auth.grants import Grants
from gateway.auth.principal import Principal
from gateway.embed import permissions as module
from gateway.embed.identity import Called
from gateway.embed.permissions import Permissions
from gateway.errors import Unavailable
from tests.patience import HANG_SECONDS


async def until(condition) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - of the loop's next turns
            await asyncio.sleep(0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(answers, clock=None) -> Permissions:
    async def authorize(principal: Principal, action: str, name: str) -> bool:
        return await answers(principal, action, name)

    return Permissions(Called(authorize, seconds=5), remember_seconds=60, clock=clock or Clock())


async def yes(*_: object) -> bool:
    return True


async def test_an_answer_counts_for_its_time() -> None:
    clock = Clock()
    permissions = made(yes, clock)
    grants = permissions.beside(Grants(publish=("own",)), "ann")
    assert grants.may_publish("own")
    assert grants.ask("publish", "own") is None
    assert not grants.may_publish("a")
    await grants.when_known("publish", "a")
    assert grants.may_publish("a")
    assert grants.ask("publish", "a") is None
    assert not permissions.beside(Grants(), "bob").may_publish("a")
    clock.now = 60.0
    assert not grants.may_publish("a")
    assert grants.ask("publish", "a") is not None
    permissions.end()


async def test_what_is_remembered_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    permissions = made(yes)
    for number in range(100):
        await permissions.beside(Grants(), f"user {number // 4}").when_known("publish", str(number))
        held = sum(map(len, permissions._answers.values()))
        assert held == permissions._remembered <= 10
    assert permissions.known("user 24", "publish", "99") is True
    assert permissions.known("user 0", "publish", "0") is None


async def test_questions_under_way_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(module, "_MOST_ASKED", 2)

    async def never(*_: object) -> bool:
        await asyncio.Event().wait()
        return True

    permissions = made(never)
    grants = permissions.beside(Grants(), "ann")
    assert grants.ask("publish", "a") is grants.ask("publish", "a")
    grants.ask("publish", "b")
    with pytest.raises(Unavailable):
        grants.ask("publish", "c")
    permissions.end()
    await until(lambda: permissions._asked == {})


async def test_an_answer_from_before_it_was_forgotten_does_not_count() -> None:
    asked: list[asyncio.Future[bool]] = []

    async def later(*_: object) -> bool:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    permissions = made(later)
    grants = permissions.beside(Grants(), "ann")
    waiting = asyncio.create_task(grants.when_known("publish", "a"))
    await until(lambda: asked)
    permissions.forget("ann")
    asked[0].set_result(True)
    await until(lambda: len(asked) == 2)
    assert not grants.may_publish("a")
    asked[1].set_result(False)
    await waiting
    assert not grants.may_publish("a")
    assert permissions.outcomes() == {"allowed": 1, "denied": 1, "failed": 0}
