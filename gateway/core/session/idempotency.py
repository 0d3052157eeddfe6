"""First answers, remembered for a while, so that a repeat is answered as before and not done again.

The window is bounded by age and by count. What was reserved is not forgotten before its time: a repeat that
came after that would be done twice, and nobody would know. So where there is no room a new key is refused.
Nor may one owner of keys take the room of all: each may hold as many as are still free. One alone can have
half of them, two a third each, and however many there are, some room is left for the next.

All entries live equally long, so the oldest one is also the next to expire: what has run out is dropped
from the front as new answers come in, which costs each entry once.

A request whose answer is still on its way is reserved. Its repeat can be given neither an answer nor a
second run, so it is refused with a conflict until the first one is remembered or released.
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
    owner: str | None


@dataclass(frozen=True, slots=True)
class AnswerStatistics:
    """``remembered``: answers held, run-out ones included; ``reserved``: still on their way."""

    remembered: int
    reserved: int


class IdempotencyWindow(Generic[A]):
    """A bounded memory of first answers; an answer is anything but None.

    ``now`` is a monotonic time in seconds. A fingerprint stands for the content of a request, so it holds
    everything that must be the same in a repeat; make it a digest, since it is kept.
    """

    __slots__ = ("_answers", "_entries", "_held", "_reserved", "_seconds")

    def __init__(self, *, seconds: float, entries: int) -> None:
        """Remember each answer for ``seconds``, and at most ``entries`` of them."""
        if entries < 1:
            raise ValueError(f"entries {entries!r}: must be at least 1")
        self._seconds = seconds
        self._entries = entries
        self._answers: OrderedDict[Hashable, _Remembered[A]] = OrderedDict()
        self._reserved: dict[Hashable, tuple[bytes, str | None]] = {}
        self._held: dict[str | None, int] = {}

    def recall(self, key: Hashable, fingerprint: bytes, *, now: float) -> A | None:
        """Return the first answer to ``key``, or None if there is none (any more).

        Raises:
            Conflict: the key belongs to another content, or its first publish is still under way.
        """
        reserved = self._reserved.get(key)
        if reserved is not None:
            _require_same(reserved[0], fingerprint)
            raise Conflict("the first publish with this idempotency key is still being published")
        first = self._answers.get(key)
        if first is None:
            return None
        if first.expires <= now:
            del self._answers[key]
            self._give_back(first.owner)
            return None
        _require_same(first.fingerprint, fingerprint)
        return first.answer

    def reserve(self, key: Hashable, fingerprint: bytes, *, now: float, owner: str | None = None) -> A | None:
        """Return the first answer, or None: the caller now owns ``key`` and must ``remember`` or ``release``.

        Raises:
            Conflict: as ``recall``.
            RateLimited: ``owner`` holds as many keys as are free, or more.
        """
        answer = self.recall(key, fingerprint, now=now)
        if answer is None:
            self._forget_expired(now)
            held = self._held.get(owner, 0)
            if held >= self._entries - len(self._answers) - len(self._reserved):
                raise RateLimited(
                    f"{held} idempotency keys of this publisher are remembered, as many as may be"
                )
            self._reserved[key] = (fingerprint, owner)
            self._held[owner] = held + 1
        return answer

    def release(self, key: Hashable) -> None:
        """End a reservation, if any, without an answer, so that the request may be tried again."""
        reserved = self._reserved.pop(key, None)
        if reserved is not None:
            self._give_back(reserved[1])

    def remember(self, key: Hashable, fingerprint: bytes, answer: A, *, now: float) -> None:
        """Keep ``answer`` and end the reservation, if any; an answer that still lives stays the first.

        Without a reservation there may be no room for it: then the oldest goes.
        """
        _, owner = self._reserved.get(key, (fingerprint, None))
        self.release(key)
        self._forget_expired(now)
        if key in self._answers:
            return
        if len(self._answers) >= self._entries:
            self._give_back(self._answers.popitem(last=False)[1].owner)
        self._answers[key] = _Remembered(fingerprint, answer, now + self._seconds, owner)
        self._held[owner] = self._held.get(owner, 0) + 1

    def statistics(self) -> AnswerStatistics:
        """What is held now."""
        return AnswerStatistics(remembered=len(self._answers), reserved=len(self._reserved))

    def _forget_expired(self, now: float) -> None:
        # `recall` may have taken one out of the middle; the order of the rest is still that of expiry.
        while self._answers and next(iter(self._answers.values())).expires <= now:
            _, gone = self._answers.popitem(last=False)
            self._give_back(gone.owner)

    def _give_back(self, owner: str | None) -> None:
        held = self._held[owner] - 1
        if held:
            self._held[owner] = held
        else:
            del self._held[owner]


def _require_same(first: bytes, fingerprint: bytes) -> None:
    if first != fingerprint:
        raise Conflict("this idempotency key was first used with another topic or body")
