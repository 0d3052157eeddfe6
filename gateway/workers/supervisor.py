"""Keeps the processes of one gateway running until it is told to stop.

It waits for two things, signals and the next time that something is due, and so needs no event loop.
What is started again and when is `restart`'s to say, and `pulse`'s what has to be killed for that.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.workers.offspring import Lifeline, fork
from gateway.workers.pulse import LOOK_SECONDS, Pulse
from gateway.workers.restart import ProcessSlot, RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_log = logging.getLogger("gateway.workers")

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_PASSED_ON = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()


def _unwatched() -> None:
    """Nobody looks for a sign of life."""


def _nothing() -> None:
    """Nothing but what begins may change."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a child process knows of itself.

    Attributes:
        restarts: times that its job was begun before.
        hangs: of these, times that it had to be killed since it hung.
        beat: to be called about once a second as long as the child's work goes on; never waits.
    """

    restarts: int = 0
    hangs: int = 0
    beat: Callable[[], None] = _unwatched


@dataclass(frozen=True, slots=True)
class Job:
    """What a child process does.

    Attributes:
        name: for the log.
        run: called in the child; returns the exit code.
        last_words: what to tell of it when it is given up.
    """

    name: str
    run: Callable[[Life], int]
    last_words: Callable[[], str] = str


class Supervisor:
    """Runs jobs, each in a process, and begins them again when they end.

    SIGTERM and SIGINT are passed on to the workers. A second SIGINT is too, which makes them hurry, and so is
    SIGHUP, which ends nobody.
    """

    def __init__(
        self,
        workers: Sequence[Job],
        *,
        foundation: Job | None = None,
        stop_seconds: float,
        hang_seconds: float = 0.0,
        hung_up: Callable[[], None] = _nothing,
        policy: RestartPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the jobs; nothing runs yet.

        Args:
            workers: told to stop by a signal, and waited for.
            foundation: what workers need until their end; killed when the last of them has ended.
            stop_seconds: workers that still run so long after the signal are killed.
            hang_seconds: a worker that gives no sign of life for so long is killed; 0: none is looked for.
            hung_up: called at each SIGHUP, before workers are told; what begins later knows what it did.
            policy: what is begun again, and when.
            clock: monotonic seconds.
        """
        policy = policy or RestartPolicy()
        now = clock()
        self._clock = clock
        self._stop_seconds = stop_seconds
        self._hang_seconds = hang_seconds
        self._hung_up = hung_up
        self._pulses: dict[ProcessSlot, Pulse] = {}
        self._look_at = now
        self._workers = {ProcessSlot(job.name, policy, now=now): job for job in workers}
        self._below = {
            ProcessSlot(job.name, policy, now=now): job for job in (foundation,) if job is not None
        }
        self._lifeline = Lifeline(patience=stop_seconds)
        self._asked: list[signal.Signals] = []
        self._stop_at: float | None = None
        self._failed = False

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a job is given up; return the exit code.

        Returns:
            0 when every worker drained as it was told; 1 when something was given up, or had to be killed.
        """
        with self._woken_by_signals() as wake:
            while True:
                self._reap()
                for number in self._take_asked():
                    if number in _STOPPING and self._stop_at is None:
                        self._stop_at = self._clock() + self._stop_seconds
                    if number in _PASSED_ON:
                        self._hung_up()
                    self._tell_workers(number)
                if self._stop_at is None:
                    self._start_due()
                    self._look_for_life()
                elif not any(place.pid for place in self._workers):
                    break
                elif self._clock() >= self._stop_at:
                    self._kill_late_workers()
                select.select([wake], [], [], self._seconds_to_wait())
                with suppress(BlockingIOError):
                    wake.recv(4096)
            self._end_foundation()
        return int(self._failed)

    def _start_due(self) -> None:
        for place, job in (*self._below.items(), *self._workers.items()):
            if place.due_at is not None and place.due_at <= self._clock():
                life = Life(place.starts, place.hangs)
                others = dict(self._pulses)
                if self._hang_seconds and place in self._workers:
                    pulse = self._pulses[place] = Pulse(seconds=self._hang_seconds, now=self._clock())
                    life = replace(life, beat=pulse.beat)
                run = partial(_live, job, life, others)
                place.fill(fork(run, name=job.name, lifeline=self._lifeline), self._clock())

    def _look_for_life(self) -> None:
        if not self._pulses or self._clock() < self._look_at:
            return
        self._look_at = self._clock() + LOOK_SECONDS
        for place, pulse in list(self._pulses.items()):
            if pulse.stopped(self._clock()) and place.pid is not None:
                _log.error(
                    "%s (process %d) gave no sign of life for %g s and is killed",
                    *(place.name, place.pid, self._hang_seconds),
                )
                place.hangs += 1
                # Also what is stopped, and what takes no signal of Python's; it is reaped like any other.
                os.kill(place.pid, signal.SIGKILL)
                self._pulses.pop(place).close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # As process 1 of a container it inherits the children of others: those have no place.
            for place, job in (*self._below.items(), *self._workers.items()):
                if place.pid == pid:
                    self._ended(place, job, os.waitstatus_to_exitcode(status))

    def _ended(self, place: ProcessSlot, job: Job, code: int) -> None:
        pid, said = place.pid, f"with {code}" if code >= 0 else f"by signal {-code}"
        if (pulse := self._pulses.pop(place, None)) is not None:
            pulse.close()
        if self._stop_at is not None:
            place.pid = None
            # By the signal itself: it had not begun to serve.
            if place in self._workers and code not in {0, *(-number for number in _STOPPING)}:
                _log.error("%s (process %d) ended %s instead of draining", place.name, pid, said)
                self._failed = True
            return
        place.vacate(self._clock())
        if place.given_up:
            _log.error(
                "%s (process %d) ended %s, again soon after a start: giving up. %s",
                *(place.name, pid, said, job.last_words()),
            )
            self._failed = True
            self._stop_at = self._clock() + self._stop_seconds
            self._tell_workers(signal.SIGTERM)
        else:
            _log.warning("%s (process %d) ended %s and is started again", place.name, pid, said)

    def _tell_workers(self, number: signal.Signals) -> None:
        for place in self._workers:
            if place.pid is not None:
                os.kill(place.pid, number)

    def _kill_late_workers(self) -> None:
        for place in self._workers:
            if place.pid is not None:
                _log.error("%s (process %d) did not end in time and is killed", place.name, place.pid)
                os.kill(place.pid, signal.SIGKILL)
        # Reaping them is all that is left; the kernel needs a moment.
        self._stop_at = self._clock() + self._stop_seconds

    def _end_foundation(self) -> None:
        for place in self._below:
            if place.pid is not None:
                os.kill(place.pid, signal.SIGKILL)
                os.waitpid(place.pid, 0)
                place.pid = None

    def _seconds_to_wait(self) -> float | None:
        times = [place.due_at for place in (*self._below, *self._workers) if place.due_at is not None]
        if self._pulses:
            times.append(self._look_at)
        if self._stop_at is not None:
            times = [self._stop_at]
        return max(0.0, min(times) - self._clock()) if times else None

    def _take_asked(self) -> list[signal.Signals]:
        asked, self._asked = self._asked, []
        return asked

    @contextmanager
    def _woken_by_signals(self) -> Iterator[socket.socket]:
        receiver, sender = socket.socketpair()
        for end in (receiver, sender):
            end.setblocking(False)
        wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        watched = (*_STOPPING, *_PASSED_ON, signal.SIGCHLD)
        before = {number: signal.signal(number, self._note) for number in watched}
        try:
            yield receiver
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            receiver.close()
            sender.close()
            self._lifeline.close()

    def _note(self, number: int, _frame: object) -> None:
        if number in _STOPPING or number in _PASSED_ON:
            self._asked.append(signal.Signals(number))


def _live(job: Job, life: Life, others: Mapping[ProcessSlot, Pulse]) -> int:
    """Run ``job`` in its child, which has no use for what the parent hears of ``others``."""
    for pulse in others.values():
        pulse.close()
    return job.run(life)
