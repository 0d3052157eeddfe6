"""What the application is asked where grants don't decide, and its answers, remembered for a while.

The engine's checks are synchronous, an application's function is not. So what is not known is asked first
(``Grants.ask``), the answer is remembered, and then the check is made again. Answers are remembered per
subject, so that the application can have those of one forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from gateway.auth.grants import Grants
from gateway.auth.principal import Principal
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.auth.grants import Action
    from gateway.embed.identity import Called
    from gateway.observability.metrics import Metrics

_log = logging.getLogger("gateway.embed")

_REMEMBERED: Final = 10_000
"""Answers, of all subjects together; then the subject that was asked about first is forgotten."""

_MOST_ASKED: Final = 1_000
"""Questions under way at once."""


Authorize: TypeAlias = "Callable[[Principal, Action, str], bool | Awaitable[bool]]"
"""An application's function that says whether somebody may do something; ``async`` or not."""


class _Question(NamedTuple):
    subject: str | None
    action: Action
    name: str


class Permissions:
    """The questions to one application, and its answers.

    Attributes:
        clock: tells monotonic seconds.
    """

    def __init__(
        self, authorize: Called, *, remember_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Ask ``authorize``, and again after ``remember_seconds``."""
        self._authorize = authorize
        self._seconds = remember_seconds
        self.clock = clock
        self._answers: dict[str | None, dict[tuple[Action, str], tuple[bool, float]]] = {}
        self._remembered = 0
        self._asked: dict[_Question, asyncio.Task[bool]] = {}
        self._outcomes: Counter[str] = Counter()

    def beside(self, grants: Grants, subject: str | None) -> Grants:
        """Return ``grants``, and besides what the application allows ``subject``."""
        return AskingGrants(grants, subject, self)

    def known(self, subject: str | None, action: Action, name: str) -> bool | None:
        """What the application has said; None where that isn't known, or not any more."""
        found = self._answers.get(subject, {}).get((action, name))
        return found[0] if found is not None and found[1] > self.clock() else None

    def ask(self, principal: Principal, action: Action, name: str) -> asyncio.Future[bool] | None:
        """See ``Grants.ask``.

        Raises:
            Unavailable: too many questions are under way.
        """
        question = _Question(principal.subject, action, name)
        if self.known(*question) is not None:
            return None
        asked = self._asked.get(question)
        if asked is None:
            if len(self._asked) >= _MOST_ASKED:
                raise Unavailable("the application is asked too much at once")
            asked = asyncio.get_running_loop().create_task(self._ask(principal, question))
            self._asked[question] = asked
            # The first to hear of it, so that whoever waits finds it remembered.
            asked.add_done_callback(lambda done: self._remember(question, done))
        return asked

    def forget(self, subject: str | None) -> None:
        """Remember nothing of ``subject`` any more, what is being asked about it included."""
        self._remembered -= len(self._answers.pop(subject, ()))
        for question in [each for each in self._asked if each.subject == subject]:
            del self._asked[question]

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._asked)

    def end(self) -> None:
        """Ask nothing any more: the gateway ends."""
        for task in list(self._asked.values()):
            task.cancel()

    def outcomes(self) -> Mapping[str, int]:
        """How many questions were answered how: ``allowed``, ``denied`` or ``failed``."""
        return {"allowed": 0, "denied": 0, "failed": 0} | self._outcomes

    def watch(self, metrics: Metrics) -> None:
        """Show in ``metrics`` how the application answers."""
        metrics.counters(
            "permissions_asked", "Questions to the application's authorize.", "outcome", self.outcomes
        )
        metrics.gauge("permissions_remembered", "Its answers that are remembered.", lambda: self._remembered)

    async def _ask(self, principal: Principal, question: _Question) -> bool:
        answer = await self._authorize(principal, question.action, question.name)
        if not isinstance(answer, bool):
            # A response, an exception that was returned, "no": they count as true, and mean the opposite.
            _log.error("authorize must give True or False, not %s: refused", type(answer).__name__)
            raise Unavailable("the application could not tell")
        return answer

    def _remember(self, question: _Question, done: asyncio.Task[bool]) -> None:
        current = self._asked.get(question) is done
        if current:
            del self._asked[question]
        if done.cancelled():
            return
        if done.exception() is not None:
            self._outcomes["failed"] += 1
            return
        allowed = done.result()
        self._outcomes["allowed" if allowed else "denied"] += 1
        if not current:
            return  # forgotten while it was asked: whoever waits is refused, and may ask again
        while self._remembered >= _REMEMBERED:
            self._remembered -= len(self._answers.pop(next(iter(self._answers))))
        answers = self._answers.setdefault(question.subject, {})
        key = (question.action, question.name)
        self._remembered += key not in answers
        answers[key] = (allowed, self.clock() + self._seconds)


class AskingGrants(Grants):
    """Grants of a client whose application is asked about the rest."""

    __slots__ = ("_permissions", "_subject")

    asks = True
    _permissions: Permissions
    _subject: str | None

    def __init__(self, grants: Grants, subject: str | None, permissions: Permissions) -> None:
        super().__init__(grants.subscribe, grants.publish, grants.consume, grants.admin)
        object.__setattr__(self, "_subject", subject)
        object.__setattr__(self, "_permissions", permissions)

    def may_publish(self, topic: str) -> bool:
        """See ``Grants``."""
        return super().may_publish(topic) or self._allowed("publish", topic)

    def may_subscribe(self, topic_filter: str) -> bool:
        """See ``Grants``."""
        return super().may_subscribe(topic_filter) or self._allowed("subscribe", topic_filter)

    def may_consume(self, stream: str, group: str) -> bool:
        """See ``Grants``."""
        return super().may_consume(stream, group) or self._allowed("consume", f"{stream}/{group}")

    def ask(self, action: Action, name: str) -> asyncio.Future[bool] | None:
        """See ``Grants``."""
        if self._granted(action, name):
            return None
        return self._permissions.ask(Principal(self._subject, None, self), action, name)

    def _granted(self, action: Action, name: str) -> bool:
        if action == "publish":
            return super().may_publish(name)
        if action == "subscribe":
            return super().may_subscribe(name)
        return super().may_consume(*name.split("/", 1))

    def _allowed(self, action: Action, name: str) -> bool:
        return self._permissions.known(self._subject, action, name) is True
