"""How long to wait before the next attempt to connect: the client's, and a node's to its Redis."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: a uniformly random wait below a ceiling that doubles each time.

    Full jitter spreads the clients of a restarted gateway best: with a fixed part they come back in waves.

    Attributes:
        first_seconds: the ceiling of the first wait.
        limit_seconds: the highest ceiling.
        stable_seconds: a connection that lived this long makes the next wait a first one again; one that
            was accepted and lost at once does not, or a gateway that crashes would be hammered.
        random: a number in [0, 1).
    """

    first_seconds: float = 0.25
    limit_seconds: float = 30.0
    stable_seconds: float = 5.0
    random: Callable[[], float] = random.random

    def ceiling(self, failures: int) -> float:
        """The longest wait in seconds after so many ``failures`` in a row (from 1)."""
        # The exponent is bounded: 2.0 ** 1024 overflows after some hours without a gateway.
        return min(self.limit_seconds, self.first_seconds * 2.0 ** min(max(failures - 1, 0), 64))

    def wait(self, failures: int, *, at_least: float = 0.0) -> float:
        """A wait in seconds after ``failures`` in a row; jitter is added to what the gateway asked for."""
        return at_least + self.ceiling(failures) * self.random()

    def failures(self, before: int, *, lived_seconds: float) -> int:
        """Count the end of a connection that lived ``lived_seconds``, after ``before`` failures in a row."""
        return 1 if lived_seconds >= self.stable_seconds else before + 1
