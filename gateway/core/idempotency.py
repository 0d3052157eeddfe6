"""First answers, remembered for a while, so that a repeat is answered as before and not done again.

The window is bounded by age and by count. All entries live equally long, so the oldest one is also the next
to expire: what has run out is dropped from the front as new answers come in, which costs each entry once.

A request whose answer is still on its way is reserved. Its repeat can be given neither an answer nor a second
run, so it is refused with a conflict until the first one is remembered or released.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from gateway.errors import Conflict, RateLimited

if TYPE_CHECKING:
    from collections.abc import Hashable

A = TypeVar("A")


class _Remembered(NamedTuple, Generic[A]):
    fingerprint: bytes
    answer: A
    expires: float


@dataclass(frozen=True, slots=True)
class AnswerStatistics:
    """``remembered``: answers held, run-out ones included; ``reserved``: still on their way."""

    remembered: int
    reserved: int


class AnswerWindow(Generic[A]):
    """A bounded memory of first answers; an answer is anything but None.

    ``now`` is a monotonic time in seconds. A fingerprint stands for the content of a request, so it holds
    everything that must be the same in a repeat; make it a digest, since it is kept.
    """

    __slots__ = ("_answers", "_entries", "_reserved", "_seconds")

    def __init__(self, *, seconds: float, entries: int) -> None:
        """Remember each answer for ``seconds``, and at most ``entries`` of them: the oldest go first."""
        if entries < 1:
            raise ValueError(f"entries {entries!r}: must be at least 1")
        self._seconds = seconds
        self._entries = entries
        self._answers: OrderedDict[Hashable, _Remembered[A]] = OrderedDict()
        self._reserved: dict[Hashable, bytes] = {}

    def recall(self, key: Hashable, fingerprint: bytes, *, now: float) -> A | None:
        """Return the first answer to ``key``, or None if there is none (any more).

        Raises:
            Conflict: the key belongs to another content, or its first publish is still under way.
        """
        reserved = self._reserved.get(key)
        if reserved is not None:
            _require_same(reserved, fingerprint)
            raise Conflict("the first publish with this idempotency key is still being published")
        first = self._answers.get(key)
        if first is None:
            return None
        if first.expires <= now:
            del self._answers[key]
            return None
        _require_same(first.fingerprint, fingerprint)
        return first.answer

    def reserve(self, key: Hashable, fingerprint: bytes, *, now: float) -> A | None:
        """Return the first answer, or None: the caller now owns ``key`` and must ``remember`` or ``release``.

        Raises:
            Conflict: as ``recall``.
            RateLimited: as many keys are reserved as the window may have entries.
        """
        answer = self.recall(key, fingerprint, now=now)
        if answer is None:
            if len(self._reserved) >= self._entries:
                raise RateLimited(
                    f"more than {self._entries} publishes with an idempotency key are under way"
                )
            self._reserved[key] = fingerprint
        return answer

    def release(self, key: Hashable) -> None:
        """End a reservation, if any, without an answer, so that the request may be tried again."""
        self._reserved.pop(key, None)

    def remember(self, key: Hashable, fingerprint: bytes, answer: A, *, now: float) -> None:
        """Keep ``answer`` and end the reservation, if any; an answer that still lives stays the first."""
        self._reserved.pop(key, None)
        self._forget_expired(now)
        if key in self._answers:
            return
        if len(self._answers) >= self._entries:
            self._answers.popitem(last=False)
        self._answers[key] = _Remembered(fingerprint, answer, now + self._seconds)

    def statistics(self) -> AnswerStatistics:
        """What is held now."""
        return AnswerStatistics(remembered=len(self._answers), reserved=len(self._reserved))

    def _forget_expired(self, now: float) -> None:
        # `recall` may have taken one out of the middle; the order of the rest is still that of expiry.
        while self._answers and next(iter(self._answers.values())).expires <= now:
            self._answers.popitem(last=False)


def _require_same(first: bytes, fingerprint: bytes) -> None:
    if first != fingerprint:
        raise Conflict("this idempotency key was first used with another topic or body")
