"""One lease, as the member that has it knows it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.client.connection import GatewayConnection

_FRESH = 0.25
"""The part of a lease after which it is worth asking before somebody begins to work on it."""

_AGING = 0.5
"""The part of a lease that a message may wait in a queue, before others shall have it."""

_EXTENDED = 3
"""How many times within a lease it is extended: one extension may fail, or come late."""


class ClientLease:
    """How long a delivery is surely this member's, by this process's own clock.

    It is counted from when the delivery came, in the group's ``ack_wait``: the deadline that the gateway
    tells is by its clock, and the two may differ by minutes. Where that comes sooner, the group may have
    shorter leases than when it was joined: then it is extended sooner at first, which does no harm.

    Attributes:
        token: names it to the gateway.
        key: its stream and group.
        seconds: how long it lasts, and is extended by.
        ends: when it has ended, if nothing is said until then; by the event loop's clock.
        extend_at: when it is to be extended, where it is kept alive.
        lost: it has ended; never taken back.
    """

    __slots__ = (
        "_connection", "_surely", "_watchers",
        "began", "ends", "extend_at", "key", "lost", "seconds", "token",
    )  # fmt: skip

    def __init__(
        self,
        token: str,
        key: tuple[str, str],
        seconds: float,
        *,
        now: float,
        connection: GatewayConnection,
        left: float = math.inf,
    ) -> None:
        """Begin ``now``; ``left`` are the seconds until the gateway's deadline, as far as clocks agree."""
        self.token = token
        self.key = key
        self.seconds = seconds
        self.lost = False
        self._watchers: list[Callable[[], object]] = []
        self.confirm(now, connection)
        self._surely = max(0.0, min(seconds, left))
        self.extend_at = now + self._surely / _EXTENDED

    def confirm(self, asked_at: float, connection: GatewayConnection, seconds: float | None = None) -> None:
        """The gateway has given it, or extended it when it was asked to ``asked_at``."""
        self._connection = connection
        self.began = asked_at
        self._surely = self.seconds
        self.ends = asked_at + (self.seconds if seconds is None else seconds)
        self.extend_at = asked_at + self.seconds / _EXTENDED

    def doubtful(self) -> bool:
        """Whether its connection has ended: the gateway may have taken it back."""
        return self._connection.ended.is_set()

    def fresh(self, now: float) -> bool:
        """Whether it is surely there, with enough left of it to begin."""
        return not self.lost and not self.doubtful() and now < self.began + self._surely * _FRESH

    def ages_at(self) -> float:
        """When it has waited for too long."""
        return self.began + self.seconds * _AGING

    def on_lost(self, call: Callable[[], object]) -> None:
        """Have ``call`` called when it is lost; at once where it is already."""
        if self.lost:
            call()
        else:
            self._watchers.append(call)

    def lose(self) -> None:
        """It has ended, against the member's will; idempotent."""
        if not self.lost:
            self.lost = True
            watchers, self._watchers = self._watchers, []
            for call in watchers:
                call()
