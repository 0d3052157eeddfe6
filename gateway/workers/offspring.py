"""A process forked from this one that does not outlive it, and how it becomes one of its own.

Forked and not started anew: what the parent has imported is shared memory, a worker is there in a fraction
of the time, and secrets are read once. That is safe as the parent has neither an event loop nor threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("gateway.workers")

_PR_SET_PDEATHSIG = 1

# Loaded before there is a child: between fork and exec the less is done the better.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Lifeline:
    """A pipe that only the parent holds the other end of: it breaks when the parent is gone, however."""

    def __init__(self, *, patience: float) -> None:
        """Make the pipe.

        Args:
            patience: seconds that an orphan has to end by itself.
        """
        self._read, self._write = os.pipe()
        self._patience = patience

    def close(self) -> None:
        """Let go of it, in the parent: for the children as if it were gone."""
        os.close(self._read)
        os.close(self._write)

    def hold(self) -> None:
        """In a child: end as after SIGTERM once the parent is gone, and at the latest after the patience."""
        os.close(self._write)
        threading.Thread(target=self._watch, daemon=True, name="lifeline").start()

    def _watch(self) -> None:
        os.read(self._read, 1)
        own = os.getpid()
        os.kill(own, signal.SIGTERM)
        time.sleep(self._patience)
        os.kill(own, signal.SIGKILL)


def fork(run: Callable[[], int], *, name: str, lifeline: Lifeline) -> int:
    """Start a process that ends with what ``run`` returns; return its id.

    The child is the leader of a process group: Ctrl-C is for the parent, which passes it on.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    everything = signal.valid_signals()
    # A signal between the fork and the child's own handlers would reach the parent's, through their pipe.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    try:
        pid = os.fork()
        if pid == 0:
            _live(run, name, lifeline, before)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live(run: Callable[[], int], name: str, lifeline: Lifeline, mask: set[int | signal.Signals]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # It may be passed on before the child has a use for it: then it waits until there is a handler.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.setpgid(0, 0)
        # With all signals still blocked, so that its thread gets none of them.
        lifeline.hold()
        signal.pthread_sigmask(signal.SIG_SETMASK, {*mask, signal.SIGHUP})
        code = run()
    except Exception:  # noqa: BLE001 - nobody above would tell of it
        _log.exception("%s failed", name)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        # Nothing of the parent's is to be cleaned up here.
        os._exit(code)


def replace(command: list[str], *, parent: int, output: str) -> NoReturn:
    """Become the program ``command``, in a child of ``parent``; where the system can, it dies with that.

    SIGKILL ends it, and nothing else that is sent to end programs.

    Args:
        command: the path of the program, and its arguments.
        parent: id of the process that it is not to outlive.
        output: the file that what it says is appended to.

    Raises:
        OSError: it can't be run.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    # What is sent to all processes at once, as systemd does, must not end it before those that need it.
    # Blocked and not ignored: the program may have handlers of its own.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    for inherited, number in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(inherited, number)
    os.execv(command[0], command)  # noqa: S606 - no shell is what is wanted
