"""Which command a reply belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gateway.client.errors import refusal
from gateway.core.messages.events import CaughtUp, Delivery, Event, Failure, Gap, GoAway, Welcome
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.client.read_gate import ReadGate

Answer: TypeAlias = Event | GatewayError


class Replies:
    """The commands of one connection that wait for an answer, by their ``ref``.

    Handlers run in the reader, before the next frame is looked at: what a reply changes holds for every
    message behind it. While any command waits, the valve is open.
    """

    def __init__(self, valve: ReadGate) -> None:
        self._valve = valve
        self._handlers: dict[int, Callable[[Answer], None]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._handlers)

    def expect(self, handler: Callable[[Answer], None]) -> int:
        """Return the ``ref`` to send; ``handler`` gets the answer, a refusal or loss as an exception."""
        self._last += 1
        self._handlers[self._last] = handler
        self._valve.expect()
        return self._last

    def forget(self, ref: int) -> None:
        """Nobody waits for ``ref`` any longer; harmless if it was answered."""
        if self._handlers.pop(ref, None) is not None:
            self._valve.settle()

    def settle(self, event: Event) -> bool:
        """Hand ``event`` to the command it answers.

        Returns:
            False if it answers none.
        """
        if isinstance(event, (Welcome, CaughtUp, Delivery, Gap, GoAway)) or not isinstance(event.ref, int):
            return False
        handler = self._handlers.pop(event.ref, None)
        if handler is None:
            return False
        self._valve.settle()
        handler(refusal(event) if isinstance(event, Failure) else event)
        return True

    def fail(self, error: GatewayError) -> None:
        """The connection is gone: no answer will come."""
        handlers = list(self._handlers.values())
        self._handlers.clear()
        for handler in handlers:
            self._valve.settle()
            handler(error)
