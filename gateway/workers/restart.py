"""Whether and when a process that has ended is started again: decided here, done by `supervisor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.core.timing.backoff import Backoff

_WAITS: Final = Backoff(first_seconds=0.25, limit_seconds=4.0, stable_seconds=10.0)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """At once after a long life; after short ones with growing waits, and in the end not at all.

    There is no jitter: unlike the clients of a gateway the processes of one machine are few.

    Attributes:
        ends: after so many in a row the process is given up; each but the first came soon after a start.
        backoff: the waits, and how long a life has to be to begin a new row.
    """

    ends: int = 6
    backoff: Backoff = _WAITS

    def wait(self, failures: int) -> float | None:
        """Seconds until the next start after so many ``failures`` in a row (from 1); None: no more."""
        if failures >= self.ends:
            return None
        # The first is nearly always an accident, and its clients are on their way back already.
        return 0.0 if failures == 1 else self.backoff.ceiling(failures - 1)


class ProcessSlot:
    """What one process after another fills: the second worker, say. Times are monotonic seconds.

    Attributes:
        name: for the log.
        pid: the process that fills it now.
        starts: how often it has been filled.
        hangs: how often what filled it had to be killed, since it hung.
        due_at: when it is to be filled; None while it is, and once it is given up.
        given_up: nothing helps.
    """

    __slots__ = (
        "_failures",
        "_policy",
        "_started_at",
        "due_at",
        "given_up",
        "hangs",
        "name",
        "pid",
        "starts",
    )

    def __init__(self, name: str, policy: RestartPolicy, *, now: float) -> None:
        self._policy = policy
        self._failures = 0
        self._started_at = now
        self.name = name
        self.pid: int | None = None
        self.starts = self.hangs = 0
        self.due_at: float | None = now
        self.given_up = False

    def fill(self, pid: int, now: float) -> None:
        """Process ``pid`` was started for it."""
        self.pid = pid
        self.starts += 1
        self._started_at = now
        self.due_at = None

    def vacate(self, now: float) -> None:
        """Its process has ended, whatever with: nobody asked it to."""
        self.pid = None
        lived = now - self._started_at
        self._failures = self._policy.backoff.failures(self._failures, lived_seconds=lived)
        wait = self._policy.wait(self._failures)
        self.given_up = wait is None
        self.due_at = None if wait is None else now + wait
