"""A question waits as long as its answers need and never longer than it may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.cluster.control import BadControl, Control, Ended, EndSession, Refused
from gateway.engine.cluster.questions import Questions
from gateway.errors import BusUnavailable, GatewayError, RateLimited
from tests.unit.engine.cluster_world import now, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.core.cluster.control import Answer

QUESTION = EndSession("s1")
SECONDS = 2.0


class Asked:
    """The other nodes: what they were asked, and how they answer after how long."""

    def __init__(self, **answers: tuple[float, Answer]) -> None:
        self.questions = Questions(self, seconds=SECONDS)  # type: ignore[arg-type]  # it only sends
        self.answers = answers
        self.told: list[tuple[object, str | None, str]] = []
        self.refusal: Exception | None = None

    async def send(self, body: object, *, to: str | None = None, id: str = "") -> None:  # noqa: A002
        if self.refusal is not None:
            raise self.refusal
        self.told.append((body, to, id))
        for node, (seconds, answer) in self.answers.items():
            asyncio.get_running_loop().call_later(seconds, self.answer, node, id, answer)

    def answer(self, node: str, question: str, answer: Answer) -> None:
        self.questions.answered(Control(node, question, answer), answer)

    async def ask(self, awaited: str, **options: Any) -> tuple[dict[str, Answer], float]:
        """The answers, and the seconds that they took."""
        begun = now()
        answers = await self.questions.ask(QUESTION, awaited, **options)
        return answers, now() - begun


def in_time(main: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a clock that jumps."""

    def test() -> None:
        run(main())

    test.__name__, test.__doc__ = main.__name__, main.__doc__
    return test


@in_time
async def test_it_ends_with_the_last_answer_that_is_awaited() -> None:
    asked = Asked(a=(0.5, Ended(1)), b=(1.0, Ended(2)), c=(1.5, Ended(3)))
    answers, seconds = await asked.ask("ab")
    assert answers == {"a": Ended(1), "b": Ended(2)}
    assert seconds == pytest.approx(1.0)
    assert (asked.questions.asked, asked.questions.unanswered) == (1, 0)


@in_time
async def test_who_does_not_answer_in_time_is_not_waited_for() -> None:
    asked = Asked(a=(0.5, Ended(1)), b=(SECONDS + 1, Ended(2)))
    answers, seconds = await asked.ask("ab")
    assert (answers, seconds) == ({"a": Ended(1)}, pytest.approx(SECONDS))
    assert asked.questions.unanswered == 1
    await asyncio.sleep(5)
    assert answers == {"a": Ended(1)}, "what came too late changes nothing"


@in_time
async def test_nobody_awaited_takes_no_time_unless_somebody_unknown_may_answer() -> None:
    asked = Asked(a=(0.5, Ended(1)))
    assert await asked.ask("") == ({}, 0)
    assert await asked.ask("", patient=True) == ({"a": Ended(1)}, pytest.approx(SECONDS))


@in_time
async def test_an_answer_that_is_enough_ends_it() -> None:
    asked = Asked(a=(0.5, Ended(0)), b=(1.0, Ended(1)), c=(1.5, Ended(0)))
    answers, seconds = await asked.ask("abc", patient=True, enough=lambda answer: answer == Ended(1))
    assert answers == {"a": Ended(0), "b": Ended(1)}
    assert seconds == pytest.approx(1.0)
    assert asked.questions.unanswered == 0


@in_time
async def test_who_refuses_has_not_done_it_and_is_not_waited_for() -> None:
    asked = Asked(a=(0.5, Refused("full")))
    assert await asked.ask("a") == ({}, pytest.approx(0.5))


@pytest.mark.parametrize("refusal", [BusUnavailable("away"), RateLimited("busy"), BadControl("too large")])
def test_what_can_not_be_asked_is_not_waited_for(refusal: GatewayError) -> None:
    async def main() -> None:
        asked = Asked()
        asked.refusal = refusal
        assert await asked.ask("ab") == ({}, 0)
        assert asked.questions.unanswered == 2

    run(main())


@in_time
async def test_answers_belong_to_the_question_that_they_name() -> None:
    asked = Asked()
    one, other = (asyncio.create_task(asked.ask("a", to="a")) for _ in range(2))
    await asyncio.sleep(0)
    assert [(body, to) for body, to, _ in asked.told] == [(QUESTION, "a")] * 2
    names = [name for *_, name in asked.told]
    assert len(set(names)) == 2
    asked.answer("a", "", Ended(7))
    asked.answer("a", "nobody asked", Ended(7))
    asked.answer("a", names[1], Ended(2))
    asked.answer("a", names[0], Ended(1))
    assert (await one)[0] == {"a": Ended(1)}
    assert (await other)[0] == {"a": Ended(2)}


@in_time
async def test_more_questions_than_may_wait_are_not_asked() -> None:
    asked = Asked()
    waiting = [asyncio.create_task(asked.ask("a")) for _ in range(100)]
    await asyncio.sleep(0)
    assert len(asked.told) == 64
    assert sum(each.done() for each in waiting) == 36
    await asyncio.wait(waiting)
    asked.answers = {"a": (0.1, Ended(1))}
    assert (await asked.ask("a"))[0] == {"a": Ended(1)}, "there is room again"


@in_time
async def test_a_flood_of_answers_fills_no_memory() -> None:
    asked = Asked()
    asking = asyncio.create_task(asked.ask("", patient=True))
    await asyncio.sleep(0)
    for number in range(5000):
        asked.answer(f"n{number}", asked.told[0][2], Ended(0))
    answers, _ = await asking
    assert len(answers) == 2048
