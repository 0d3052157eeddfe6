"""How many idempotency keys of a stream each publisher holds, so that none takes the room of all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_DIGITS = 9


class KeyShares:
    """Counts keys by publisher. Each may hold as many as are still free: one alone half of them.

    What a transaction changes is undone by the next ``begin`` unless ``settle`` came before.
    """

    __slots__ = ("_held", "_most", "_pending", "_stream")

    def __init__(self, stream: str, most: int, keys: Iterable[str] = ()) -> None:
        """Count ``keys``; there may be ``most`` of them."""
        self._stream = stream
        self._most = most
        self._held = Counter(publisher_of(key) for key in keys)
        self._pending: list[tuple[str, int]] = []

    def take(self, key: str, remembered: int) -> None:
        """Count a new ``key`` beside so many that are ``remembered``.

        Raises:
            RateLimited: its publisher holds as many as are free, or more.
        """
        publisher = publisher_of(key)
        held = self._held[publisher]
        if held >= self._most - remembered:
            raise RateLimited(
                f"stream {self._stream!r} remembers {remembered} idempotency keys, {held} of them of this"
                " publisher, as many as it may"
            )
        self._change(publisher, 1)

    def give_back(self, key: str) -> None:
        """``key`` has been forgotten."""
        self._change(publisher_of(key), -1)

    def begin(self) -> None:
        """Undo what was changed in a transaction that failed."""
        pending, self._pending = self._pending, []
        for publisher, step in pending:
            self._change(publisher, -step)
        self._pending.clear()

    def settle(self) -> None:
        """What was changed is kept."""
        self._pending.clear()

    def _change(self, publisher: str, step: int) -> None:
        held = self._held[publisher] + step
        if held > 0:
            self._held[publisher] = held
        else:
            del self._held[publisher]
        self._pending.append((publisher, step))


def publisher_of(key: str) -> str:
    """The publisher in a ``Dedupe.key``: ``LENGTH:SUBJECT/KEY``, or ``/KEY`` of an anonymous one."""
    length, colon, rest = key.partition(":")
    if not colon or not length.isascii() or not length.isdigit() or len(length) > _MOST_DIGITS:
        return ""
    return rest[: int(length)]
