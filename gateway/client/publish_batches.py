"""What an HTTP publisher decides: which messages go together, and what an answer means for each of them.

Messages of concurrent calls wait in one line. One request is under way at a time, and takes what waits when
the one before it is answered: the busier it is, the larger its batches, without any waiting for company.

No I/O and no clock: ``http_publisher`` has both. Requests and answers: docs/http.md, "Several messages".
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.client.errors import CommandTimeout, ConnectFailed, NoAnswer, NotSent, refused
from gateway.codecs.gateway_v1_commands import command_fields
from gateway.core.messages.events import Published
from gateway.errors import BadCommand, Conflict, GatewayError, InternalError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.client.publishing import MakePublish
    from gateway.core.timing.backoff import Backoff

BATCH_ITEMS: Final = 500
BATCH_BYTES: Final = 2**20
"""Half and an eighth of what a gateway takes by default; where it takes less, batches shrink."""

_MAY_BE_DONE = {500, 502, 504}
_TOO_MUCH = {400, 413}


class WaitingPublish:
    """A message on its way.

    Attributes:
        topic: where to.
        item: its JSON.
        repeatable: whether a repeat is harmless: it has an idempotency key.
        result: what became of it; None while nobody knows.
    """

    __slots__ = ("failure", "item", "repeatable", "result", "topic", "uncertain", "withdrawn")

    def __init__(self, topic: str, key: str | None, make: MakePublish) -> None:
        """Make one.

        Raises:
            BadCommand: it holds what JSON cannot carry.
        """
        fields = command_fields(make(None))
        del fields["op"]
        try:
            self.item = orjson.dumps(fields)
        except orjson.JSONEncodeError as error:
            raise BadCommand(f"not JSON: {error}") from error
        self.topic = topic
        self.repeatable = key is not None
        self.result: Published | GatewayError | None = None
        self.failure: GatewayError | None = None
        self.uncertain = False
        self.withdrawn = False

    def give_up(self, seconds: float) -> GatewayError:
        """The error for one that has no result after ``seconds``; it is not sent again."""
        self.withdrawn = True
        if self.uncertain:
            late: GatewayError = CommandTimeout(f"publish to {self.topic!r}: no answer within {seconds:g} s")
        else:
            late = self.failure or NotSent(f"publish to {self.topic!r}: not sent within {seconds:g} s")
        if late.__cause__ is None and late is not self.failure:
            late.__cause__ = self.failure
        return late


class PublishBatches:
    """The line of one publisher, and what it has learnt about its gateway.

    Attributes:
        busy: whether a request is under way.
        token_refused: the credential is to be replaced before the next request.
    """

    def __init__(self, backoff: Backoff, *, can_renew: bool) -> None:
        self._backoff = backoff
        self._can_renew = can_renew
        self._line: deque[WaitingPublish] = deque()
        self._failures = 0
        self._not_before = 0.0
        self._most = BATCH_ITEMS
        self.busy = False
        self.token_refused = False

    def add(self, publishes: Sequence[WaitingPublish]) -> None:
        """Put them at the end of the line."""
        self._line.extend(publishes)

    def wait(self, now: float) -> float:
        """Seconds until the next request may be sent."""
        return max(self._not_before - now, 0.0)

    def take(self) -> list[WaitingPublish]:
        """Begin a request: those that go with it, first come first served. One of the ends must follow."""
        self.busy = True
        batch: list[WaitingPublish] = []
        size = 0
        while self._line and len(batch) < self._most:
            size += len(self._line[0].item) + 1
            if batch and size > BATCH_BYTES:
                break
            waiting = self._line.popleft()
            if not waiting.withdrawn:
                batch.append(waiting)
        return batch

    def answered(
        self, batch: list[WaitingPublish], status: int, body: bytes, *, retry_after: float, now: float
    ) -> None:
        """The end of a request: the gateway answered it."""
        self.busy = False
        if status == 200:
            self._results(batch, body, now)
            return
        error = _error_of(status, body)
        if status in _TOO_MUCH and len(batch) > 1:
            # One of them may be at fault, or their number: smaller batches find out.
            self._most = max(len(batch) // 2, 1)
            self._again(batch)
        elif isinstance(error, Unauthenticated):
            first = not self.token_refused
            self.token_refused = self._can_renew
            self._refused(batch, error, again=self._can_renew and first, now=now)
        else:
            if status in _MAY_BE_DONE:
                self._uncertain(batch)
            again = error.retry or status in _MAY_BE_DONE or status == 408
            self._refused(batch, error, again=again, now=now, at_least=retry_after)

    def not_connected(self, batch: list[WaitingPublish], reason: str, *, now: float) -> None:
        """The end of a request: nothing of it was sent."""
        self.busy = False
        self._refused(batch, ConnectFailed(f"no connection to the gateway: {reason}"), again=True, now=now)

    def not_permitted(self, batch: list[WaitingPublish], error: GatewayError, *, now: float) -> None:
        """The end of a request: it could not be made without a token; ``error`` says whether one may come."""
        self.busy = False
        self._refused(batch, error, again=error.retry, now=now)

    def not_answered(self, batch: list[WaitingPublish], reason: str, *, now: float) -> None:
        """The end of a request: it was sent, or a part of it, and no answer came."""
        self.busy = False
        self._uncertain(batch)
        self._refused(batch, NoAnswer(f"the gateway did not answer: {reason}"), again=True, now=now)

    def abandoned(self, batch: list[WaitingPublish]) -> None:
        """The end of a request: who waited for the answer does so no longer."""
        self.busy = False
        self._uncertain(batch)
        for waiting in batch:
            if not waiting.repeatable:
                waiting.result = CommandTimeout(
                    f"publish to {waiting.topic!r}: its request was given up before the answer came"
                )
        self._again([waiting for waiting in batch if waiting.repeatable])

    def _results(self, batch: list[WaitingPublish], body: bytes, now: float) -> None:
        try:
            results = orjson.loads(body)["results"]
            outcomes = [_outcome(result) for result in results]
        except (ValueError, KeyError, TypeError):
            outcomes = []
        if len(outcomes) != len(batch):
            self._uncertain(batch)
            self._refused(batch, InternalError("the answer is not a gateway's"), again=False, now=now)
            return
        self.token_refused = False
        self._most = min(self._most * 2, BATCH_ITEMS)
        again = []
        for waiting, outcome in zip(batch, outcomes, strict=True):
            # A repeat while the first is still under way is a conflict on live topics.
            passing = isinstance(outcome, GatewayError) and (
                outcome.retry or (isinstance(outcome, Conflict) and waiting.uncertain)
            )
            if passing and isinstance(outcome, GatewayError) and self._may_repeat(waiting, outcome):
                waiting.failure = outcome
                again.append(waiting)
            else:
                waiting.result = outcome
        self._again(again)
        if again:
            self._count_failure(now, 0.0)
        else:
            self._failures = 0

    def _refused(
        self,
        batch: list[WaitingPublish],
        error: GatewayError,
        *,
        again: bool,
        now: float,
        at_least: float = 0.0,
    ) -> None:
        repeated = []
        for waiting in batch:
            waiting.failure = error
            if again and self._may_repeat(waiting, error):
                repeated.append(waiting)
            else:
                waiting.result = error
        self._again(repeated)
        self._count_failure(now, at_least)

    @staticmethod
    def _may_repeat(waiting: WaitingPublish, error: GatewayError) -> bool:
        """Whether a repeat can't be a second one: the gateway says of ``Unavailable`` that it may be done."""
        certain = isinstance(error, NotSent) or not isinstance(error, Unavailable)
        return waiting.repeatable or (certain and not waiting.uncertain)

    def _again(self, batch: list[WaitingPublish]) -> None:
        self._line.extendleft(reversed(batch))

    @staticmethod
    def _uncertain(batch: list[WaitingPublish]) -> None:
        for waiting in batch:
            waiting.uncertain = True

    def _count_failure(self, now: float, at_least: float) -> None:
        self._failures += 1
        self._not_before = now + self._backoff.wait(self._failures, at_least=at_least)


def request_body(batch: Sequence[WaitingPublish]) -> bytes:
    """The body of ``POST /v1/publish`` for a batch."""
    return b"[" + b",".join(waiting.item for waiting in batch) + b"]"


def _outcome(result: dict[str, Any]) -> Published | GatewayError:
    if "id" in result:
        return Published(result["id"], result.get("stream"), result.get("offset"))
    return refused(result["code"], result["reason"])


def _error_of(status: int, body: bytes) -> GatewayError:
    try:
        told = orjson.loads(body)
        error = refused(told["code"], told["reason"])
    except (ValueError, KeyError, TypeError):
        kind = {401: Unauthenticated, 408: Unavailable, 429: Unavailable}.get(status)
        if kind is None:
            kind = Unavailable if status >= 500 else GatewayError
        error = kind(f"the gateway refused with HTTP {status}")
    return error
