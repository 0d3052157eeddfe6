"""Questions to other nodes on their way: which answer belongs to which, and how long to wait."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from gateway.core.cluster.control import BadControl, Refused
from gateway.errors import BusUnavailable, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.cluster.control import Answer, Control, Question
    from gateway.engine.cluster.control_link import ControlLink

_MOST_OPEN = 64
"""A question more is not asked, and so not answered: what the others would tell must fit the memory."""

_MOST_ANSWERS = 2_048

_log = logging.getLogger("gateway.cluster")


class _Open:
    __slots__ = ("answers", "awaited", "done", "enough", "patient")

    def __init__(
        self, awaited: Iterable[str], enough: Callable[[Answer], bool] | None, *, patient: bool
    ) -> None:
        self.awaited = set(awaited)
        self.enough = enough
        self.patient = patient
        self.answers: dict[str, Answer] = {}
        self.done = anyio.Event()
        self.look()

    def look(self) -> None:
        if not self.awaited and not self.patient:
            self.done.set()


class Questions:
    """What this node has asked others.

    Attributes:
        asked: questions so far.
        unanswered: answers that did not come in time, of all questions.
    """

    def __init__(self, link: ControlLink, *, seconds: float) -> None:
        """Make it; an answer is waited for so many ``seconds``."""
        self._link = link
        self._seconds = seconds
        self._open: dict[str, _Open] = {}
        self.asked = self.unanswered = 0

    async def ask(
        self,
        question: Question,
        awaited: Iterable[str],
        *,
        to: str | None = None,
        patient: bool = False,
        enough: Callable[[Answer], bool] | None = None,
    ) -> dict[str, Answer]:
        """Ask one node or all, and return what they answer; who is not in it did not do it.

        Args:
            question: what to ask.
            awaited: who should answer.
            to: whom to ask; None: all.
            patient: wait the whole time, for nodes that nobody knows of yet.
            enough: whether this answer makes all others superfluous.
        """
        if len(self._open) >= _MOST_OPEN:
            return {}
        self.asked += 1
        name = secrets.token_hex(8)
        waiting = self._open[name] = _Open(awaited, enough, patient=patient)
        try:
            with anyio.move_on_after(self._seconds), suppress(BusUnavailable, RateLimited, BadControl):
                await self._link.send(question, to=to, id=name)
                await waiting.done.wait()
        finally:
            del self._open[name]
        self.unanswered += len(waiting.awaited)
        return waiting.answers

    def answered(self, message: Control, answer: Answer) -> None:
        """Take an answer; one that is late or that nobody has asked for is let go."""
        waiting = self._open.get(message.id)
        if waiting is None or len(waiting.answers) >= _MOST_ANSWERS:
            return
        if isinstance(answer, Refused):
            _log.warning("node %s refuses: %s", message.node, answer.reason[:200])
        else:
            waiting.answers[message.node] = answer
        waiting.awaited.discard(message.node)
        waiting.look()
        if waiting.enough is not None and waiting.enough(answer):
            waiting.awaited.clear()
            waiting.done.set()
